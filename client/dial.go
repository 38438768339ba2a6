package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler/frame"
)

// newHTTPClient returns the HTTP client for handshakes that cfg asks for.
func newHTTPClient(cfg *config) *http.Client {
	if cfg.httpClient != nil {
		return cfg.httpClient
	}
	t := &http.Transport{
		TLSClientConfig: cfg.tls,
		// Upgraded connections are ours; a refused one is not worth keeping.
		DisableKeepAlives: true,
	}
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	if cfg.dial != nil {
		t.DialContext = cfg.dial
	} else {
		t.Proxy = http.ProxyFromEnvironment
	}
	return &http.Client{Transport: t}
}

// dial opens a WebSocket; ctx bounds the handshake only.
func (c *Client) dial(ctx context.Context) (*websocket.Conn, *socket, frame.Protocol, error) {
	hc := *c.http
	tap := &socketTap{base: hc.Transport}
	if tap.base == nil {
		tap.base = http.DefaultTransport
	}
	hc.Transport = tap
	// As in browsers: it may lead to another host, or out of TLS, and what signs in would go there.
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	opts := &websocket.DialOptions{HTTPClient: &hc, HTTPHeader: c.cfg.header, Subprotocols: c.offers}
	if c.cfg.compress {
		opts.CompressionMode = websocket.CompressionNoContextTakeover
	}
	ws, resp, err := websocket.Dial(ctx, c.url, opts)
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, nil, 0, handshakeError(resp)
		}
		var request *url.Error
		if errors.As(err, &request) {
			err = request.Err // without the layers around it
		}
		return nil, nil, 0, err
	}
	if tap.sock == nil {
		ws.CloseNow()
		return nil, nil, 0, errNoUpgrade
	}
	for _, p := range c.cfg.protocols {
		if ws.Subprotocol() == p.String() {
			ws.SetReadLimit(int64(c.cfg.maxMessage))
			return ws, tap.sock, p, nil
		}
	}
	ws.CloseNow()
	return nil, nil, 0, fmt.Errorf("%w: want %s, got %q", errWrongProtocol, strings.Join(c.offers, " or "), ws.Subprotocol())
}

// offers lists the subprotocols in the order of preference.
func offers(protocols []frame.Protocol) []string {
	protocols = slices.Clone(protocols)
	slices.SortFunc(protocols, func(a, b frame.Protocol) int { return int(b) - int(a) })
	var names []string
	for _, p := range protocols {
		names = append(names, p.String())
	}
	return names
}

func handshakeError(resp *http.Response) error {
	e := &HandshakeError{
		Status:   resp.StatusCode,
		Own:      resp.Header.Get(frame.RefusalHeader) != "",
		Location: withoutSecrets(resp.Header.Get("Location")),
	}
	if resp.Body != nil {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		e.Body = strings.TrimSpace(strings.ToValidUTF8(string(body), "\uFFFD"))
	}
	if seconds, err := strconv.ParseInt(resp.Header.Get("Retry-After"), 10, 64); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(min(seconds, math.MaxInt64/int64(time.Second))) * time.Second
	}
	return e
}

// withoutSecrets returns the URL text redacted.
func withoutSecrets(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return redacted(*u)
}

// socketTap puts a socket between an upgraded connection and its user.
type socketTap struct {
	base http.RoundTripper
	sock *socket
}

// RoundTrip implements http.RoundTripper.
func (t *socketTap) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return resp, err
	}
	if rwc, ok := resp.Body.(io.ReadWriteCloser); ok {
		t.sock = newSocket(rwc)
		resp.Body = t.sock
	}
	return resp, nil
}
