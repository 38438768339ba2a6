package listen

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"
)

// A Certificate is what a server shows and asks for, from files that can be read
// again.
type Certificate struct {
	certFile, keyFile string
	clientCA          string // "": nothing is asked for
	current           atomic.Pointer[tls.Config]
}

// ReadCertificate reads a certificate chain and its key, in PEM. clientCA names a
// file of certificates (PEM) that clients must have one of; "" lets in all.
func ReadCertificate(certFile, keyFile, clientCA string) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, clientCA: clientCA}
	return c, c.Reload()
}

// Reload reads the files again. New connections use what they hold now; if
// something is wrong with one of them, all stays as it was.
func (c *Certificate) Reload() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	config := newConfig()
	config.Certificates = []tls.Certificate{pair}
	if c.clientCA != "" {
		text, err := os.ReadFile(c.clientCA)
		if err != nil {
			return err
		}
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("%s has no certificate in PEM", c.clientCA)
		}
	}
	c.current.Store(config)
	return nil
}

// newConfig returns what does not change. WebSockets need HTTP/1.1.
func newConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
}

// Config returns the configuration of a server. Each connection uses that of the
// last reload, whose tickets are its own: nobody resumes a session that a former
// authority of clients let in.
func (c *Certificate) Config() *tls.Config {
	config := newConfig()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil }
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { // http.Server.ServeTLS wants one
		return &c.current.Load().Certificates[0], nil
	}
	return config
}
