package outside

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/redact"
	"github.com/juggler-go/juggler/frame"
)

// Webhook answers calls by POST to a URL: the args are the body, as JSON. The
// URI is in the header Juggler-URI, the headers, as JSON, in Juggler-Headers.
type Webhook struct {
	url    string
	shown  string // url, for logs
	client *http.Client
	limits Limits
	log    *slog.Logger
}

// NewWebhook returns the webhook at a URL.
func NewWebhook(text string, limits Limits, log *slog.Logger) (*Webhook, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("want http://… or https://…") // without the text, which may have a password
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64 // as many as calls usually run at a time
	return &Webhook{url: text, shown: redact.URL(text), limits: limits, log: log, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Answer answers a call. A status of 2xx makes the body the result. 4xx is the
// code of the call's error, with the message and data of a body
// {"message":…,"data":…}. Any other status, and a webhook that cannot be
// reached, are code 500 and are logged.
func (h *Webhook) Answer(ctx context.Context, c *calleekit.Call) (any, error) {
	limited, cancel := context.WithTimeoutCause(ctx, h.limits.Timeout, errTooLong)
	defer cancel()
	failed := func(what string) error {
		h.log.Error("a webhook failed", "uri", c.URI, "url", h.shown, "reason", what)
		return calleekit.Errorf(calleekit.CodeInternal, "%s failed", c.URI)
	}
	args := c.Args
	if len(args) == 0 {
		args = json.RawMessage("null")
	}
	request, err := http.NewRequestWithContext(limited, http.MethodPost, h.url, bytes.NewReader(args))
	if err != nil {
		return nil, failed(redact.Error(err))
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Juggler-URI", url.PathEscape(c.URI))
	request.Header.Set("Juggler-Headers", headersText(c))
	if deadline, ok := limited.Deadline(); ok {
		request.Header.Set("Juggler-Timeout-Ms", fmt.Sprint(max(1, time.Until(deadline).Milliseconds())))
	}
	body, status, err := h.send(request)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, failed(redact.Error(err))
	case status >= 200 && status < 300:
		return answer(body, failed)
	case status >= http.StatusBadRequest && status < http.StatusInternalServerError:
		return nil, refusal(status, body)
	}
	return nil, failed(fmt.Sprintf("HTTP status %d", status))
}

// send returns body and status of the response.
func (h *Webhook) send(request *http.Request) (body []byte, status int, err error) {
	response, err := h.client.Do(request)
	if err != nil {
		if errors.Is(context.Cause(request.Context()), errTooLong) {
			err = errTooLong
		}
		return nil, 0, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, int64(h.limits.MaxOutput)+1))
	if err == nil && len(body) > h.limits.MaxOutput {
		err = fmt.Errorf("its answer is longer than %d bytes", h.limits.MaxOutput)
	}
	return body, response.StatusCode, err
}

// refusal is the error of a call that a webhook refused.
func refusal(status int, body []byte) error {
	var said struct {
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	if json.Unmarshal(body, &said) != nil || said.Message == "" {
		said.Message = http.StatusText(status)
	}
	e := &calleekit.Error{Code: frame.Code(status), Message: said.Message}
	if said.Data != nil {
		e.Data = said.Data
	}
	return e
}
