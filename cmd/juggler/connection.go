package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/option"
)

// connectionFlags say how the client connects.
type connectionFlags struct {
	protocol         settings.Choice
	client           settings.Options[client.Option]
	token, tokenFile string
	bearer           bool
	httpHeaders      []string // NAME: VALUE
	ca               string
	cert, key        string
	insecure         bool
	socket           string
}

func (f *connectionFlags) bind(flags *pflag.FlagSet) {
	f.protocol = settings.Choice{Value: "any", Choices: []string{"any", "juggler.1", "juggler.0"}}
	flags.Var(&f.protocol, "protocol", "subprotocol to speak")
	f.client.Duration(flags, option.ClientCallTimeout, client.WithCallTimeout, "time of calls")
	flags.StringVar(&f.token, "token", "", "token to sign in with, by AUTH; others on this machine can see it: see --token-file")
	flags.StringVar(&f.tokenFile, "token-file", "", "`file` with the token")
	flags.BoolVar(&f.bearer, "bearer", false, "send the token as Authorization: Bearer, in place of AUTH; juggler.0 can do nothing else")
	flags.StringArrayVar(&f.httpHeaders, "http-header", nil, "header of the handshake, `NAME: VALUE`; may be repeated")
	flags.StringVar(&f.ca, "ca", "", "`file` with the certificates (PEM) to trust for wss://, in place of the system's")
	flags.StringVar(&f.cert, "cert", "", "`file` with the certificate (PEM) to show to a server that wants one")
	flags.StringVar(&f.key, "cert-key", "", "`file` with its key")
	flags.BoolVar(&f.insecure, "insecure", false, "accept any certificate: do not use it where it matters")
	flags.StringVar(&f.socket, "unix-socket", "", "`path` of a Unix socket to connect to, in place of the host of the URL")
}

// options returns the options of connections.
func (f *connectionFlags) options() ([]client.Option, error) {
	protocols := f.protocols()
	header := http.Header{"User-Agent": {"juggler-client"}}
	for _, h := range f.httpHeaders {
		name, value, ok := strings.Cut(h, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("--http-header %q: want NAME: VALUE", h)
		}
		header.Add(name, strings.TrimSpace(value))
	}
	options := append(f.client.List(), client.WithLogger(slog.New(slog.DiscardHandler))) // the shell says itself what matters
	token, err := f.readToken()
	switch {
	case f.token != "" && f.tokenFile != "":
		return nil, errors.New("want --token or --token-file, not both")
	case err != nil:
		return nil, err
	case token == "" && f.bearer:
		return nil, errors.New("--bearer goes with --token or --token-file only")
	case token != "" && f.bearer:
		header.Set("Authorization", "Bearer "+token)
	case token != "" && f.protocol.Value == "juggler.0":
		return nil, errors.New("juggler.0 has no AUTH: use --bearer")
	case token != "":
		protocols = []frame.Protocol{frame.Juggler1}
		options = append(options, client.WithToken(func(context.Context) (string, error) { return f.readToken() }))
	}
	encryption, err := f.tls()
	if err != nil {
		return nil, err
	}
	if encryption != nil {
		options = append(options, client.WithTLSConfig(encryption))
	}
	if f.socket != "" {
		options = append(options, client.WithDialer(func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", f.socket)
		}))
	}
	return append(options, client.WithProtocols(protocols...), client.WithHTTPHeader(header)), nil
}

func (f *connectionFlags) protocols() []frame.Protocol {
	switch f.protocol.Value {
	case "juggler.1":
		return []frame.Protocol{frame.Juggler1}
	case "juggler.0":
		return []frame.Protocol{frame.Juggler0}
	}
	return []frame.Protocol{frame.Juggler1, frame.Juggler0}
}

// readToken reads the token, anew for each connection: the file may have a
// newer one.
func (f *connectionFlags) readToken() (string, error) {
	if f.tokenFile == "" {
		return f.token, nil
	}
	text, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func (f *connectionFlags) tls() (*tls.Config, error) {
	if f.ca+f.cert+f.key == "" && !f.insecure {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: f.insecure}
	if f.ca != "" {
		text, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--ca: %s has no certificate in PEM", f.ca)
		}
	}
	if f.cert+f.key != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("--cert and --cert-key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
