package engine

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// AddressHelp says how a Redis server or cluster is named.
const AddressHelp = `Redis is named by a URL:

  redis://[USER:PASSWORD@]HOST[:PORT][/DB]        one server
  redis://HOST:PORT,HOST:PORT,…                   a cluster (some of its nodes)
  redis-cluster://HOST[:PORT]                     a cluster (one of its nodes)
  redis-sentinel://HOST:PORT,…/MASTER[/DB]        the master that Sentinel names
  unix:///PATH[?db=DB]                            one server, by a Unix socket

rediss:// and so on use TLS. USER and PASSWORD are those of the masters.`

// An address is a parsed URL.
type address struct {
	kind     kind
	hosts    []string // host:port, or the path of a socket
	tls      bool
	user     string
	password string
	db       int
	master   string // of Sentinel
}

type kind uint8

const (
	server kind = iota
	cluster
	sentinel
	socket
)

// parseAddress parses what AddressHelp describes. Several addresses, in one
// string with commas or in several strings, are those of a cluster.
func parseAddress(texts []string) (address, error) {
	text := strings.Join(texts, ",")
	if len(texts) > 1 {
		for i, t := range texts[1:] {
			if at := strings.Index(t, "://"); at >= 0 {
				texts[i+1] = t[at+3:]
			}
		}
		text = strings.Join(texts, ",")
	}
	if !strings.Contains(text, "://") {
		text = "redis://" + text
	}
	scheme, rest, _ := strings.Cut(text, "://")
	a := address{}
	base := strings.TrimPrefix(scheme, "redis")
	if strings.HasPrefix(scheme, "rediss") {
		a.tls, base = true, strings.TrimPrefix(scheme, "rediss")
	}
	switch {
	case scheme == "unix":
		return parseSocket(text)
	case !strings.HasPrefix(scheme, "redis") || base != "" && base != "-cluster" && base != "-sentinel":
		return a, fmt.Errorf("%q: want redis://, rediss://, redis-cluster://, redis-sentinel:// or unix://", scheme+"://")
	case base == "-cluster":
		a.kind = cluster
	case base == "-sentinel":
		a.kind = sentinel
	}
	rest, err := a.credentials(rest)
	if err != nil {
		return a, err
	}
	hosts, path, _ := strings.Cut(rest, "/")
	if err := a.setHosts(hosts); err != nil {
		return a, err
	}
	return a, a.setPath(path)
}

// credentials takes USER:PASSWORD@ off the front.
func (a *address) credentials(rest string) (string, error) {
	at := strings.LastIndex(rest, "@")
	if at < 0 {
		return rest, nil
	}
	user, password, _ := strings.Cut(rest[:at], ":")
	var err1, err2 error
	a.user, err1 = url.PathUnescape(user)
	a.password, err2 = url.PathUnescape(password)
	if err := errors.Join(err1, err2); err != nil {
		return "", errors.New("user or password: a % stands as %25, an @ as %40")
	}
	return rest[at+1:], nil
}

func (a *address) setHosts(hosts string) error {
	port := "6379"
	if a.kind == sentinel {
		port = "26379"
	}
	for host := range strings.SplitSeq(hosts, ",") {
		host = strings.TrimSpace(host)
		if host == "" {
			return errors.New("the host is missing")
		}
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
		if _, p, _ := net.SplitHostPort(host); !validPort(p) {
			return fmt.Errorf("%q: want HOST:PORT", host)
		}
		a.hosts = append(a.hosts, host)
	}
	if len(a.hosts) > 1 && a.kind == server {
		a.kind = cluster
	}
	return nil
}

func validPort(p string) bool {
	n, err := strconv.Atoi(p)
	return err == nil && n > 0 && n < 1<<16
}

// setPath reads the database, and for Sentinel the name of the master.
func (a *address) setPath(path string) error {
	path = strings.TrimSuffix(path, "/")
	if a.kind == sentinel {
		a.master, path, _ = strings.Cut(path, "/")
		if a.master == "" {
			return errors.New("the name of the master is missing: redis-sentinel://HOST:PORT,…/MASTER")
		}
	}
	return a.setDB(path)
}

func (a *address) setDB(text string) error {
	if text == "" {
		return nil
	}
	if strings.Contains(text, "?") {
		return errors.New("the URL has settings behind a ?: there are flags for them")
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return fmt.Errorf("database %q: want a number", text)
	}
	if n != 0 && a.kind == cluster {
		return errors.New("a cluster has no database but 0")
	}
	a.db = n
	return nil
}

func parseSocket(text string) (address, error) {
	u, err := url.Parse(text)
	if err != nil || u.Path == "" || u.Host != "" {
		return address{}, fmt.Errorf("%q: want unix:///PATH", text)
	}
	a := address{kind: socket, hosts: []string{u.Path}, user: u.User.Username()}
	a.password, _ = u.User.Password()
	return a, a.setDB(u.Query().Get("db"))
}

// String names the server or cluster in logs and errors, without passwords.
func (a *address) String() string {
	text := strings.Join(a.hosts, ",")
	if a.kind == sentinel {
		text += "/" + a.master
	}
	return text
}
