package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// An entry is how servers are reached and entered. What was read from files can be
// read again: new connections use what they hold now, those that are there go on.
type entry struct {
	login      *login
	encryption *encryption // nil: none
	clientName string
}

// reload reads the files again. If something is wrong all stays as it was.
func (e *entry) reload() error {
	password, err := e.login.read()
	var config *tls.Config
	if e.encryption != nil {
		var wrong error
		config, wrong = e.encryption.read()
		err = errors.Join(err, wrong)
	}
	if err != nil {
		return err
	}
	e.login.password.Store(&password)
	if e.encryption != nil {
		e.encryption.config.Store(config)
	}
	return nil
}

// dialer returns what dials; nil stands for what go-redis does by itself.
func (e *entry) dialer() func(ctx context.Context, network, addr string) (net.Conn, error) {
	if e.encryption == nil {
		return nil
	}
	return e.encryption.dial
}

// name has a server know the connection by a name, if it lets us: some have no
// CLIENT, and users may lack the right.
func (e *entry) name(ctx context.Context, c *goredis.Conn) error {
	if e.clientName == "" {
		return nil
	}
	err := c.ClientSetName(ctx, e.clientName).Err()
	var refused goredis.Error
	if errors.As(err, &refused) {
		return nil
	}
	return err
}

// A login is a user with a password, from a file if there is one.
type login struct {
	user, fixed string
	flag, file  string // that names the file
	password    atomic.Pointer[string]
}

func (l *login) read() (string, error) {
	if l.file == "" {
		return l.fixed, nil
	}
	text, err := os.ReadFile(l.file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", l.flag, err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// current returns what connections log in with now.
func (l *login) current(context.Context) (user, password string, err error) {
	return l.user, *l.password.Load(), nil
}

// An encryption is TLS, with certificates from files.
type encryption struct {
	caFlag        string // that names the file ca
	ca, cert, key string // files; "" where there is none
	serverName    string // "": the host
	config        atomic.Pointer[tls.Config]
}

func (e *encryption) read() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: e.serverName}
	if e.ca != "" {
		text, err := os.ReadFile(e.ca)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.caFlag, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: %s has no certificate in PEM", e.caFlag, e.ca)
		}
	}
	if e.cert != "" || e.key != "" {
		pair, err := tls.LoadX509KeyPair(e.cert, e.key)
		if err != nil {
			return nil, fmt.Errorf("--redis-cert and --redis-key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// keepAlive is how often an idle connection is tried, as go-redis does it.
const keepAlive = 5 * time.Minute

func (e *encryption) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{KeepAlive: keepAlive}, Config: e.config.Load()}
	return d.DialContext(ctx, network, addr)
}
