package outside

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	shown  string // url, without secrets
	client *http.Client
	limits Limits
}

// NewWebhook returns the webhook at a URL.
func NewWebhook(text string, limits Limits) (*Webhook, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("want http://… or https://…") // without the text, which may have a password
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64 // as many as calls usually run at a time
	return &Webhook{url: text, shown: redact.URL(text), limits: limits, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Answer answers a call. A status of 2xx makes the body the result. With any other the
// body may be the error of the call, {"error":{"code":…,"message":…,…}}. Without it, 4xx is
// the code of an error that says no more than its status; what else there is, and a webhook
// that cannot be reached, are failures without details.
func (h *Webhook) Answer(ctx context.Context, c *calleekit.Call) (any, error) {
	limited, cancel := context.WithTimeoutCause(ctx, h.limits.Timeout, errTooLong)
	defer cancel()
	failed := func(what any) error { return fmt.Errorf("webhook %s: %v", h.shown, what) }
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
	case len(body) > h.limits.MaxOutput:
		return nil, h.limits.tooLong()
	case status < 200 || status > 299:
		if e := refusal(status, body); e != nil {
			return nil, e
		}
		return nil, failed(fmt.Sprintf("HTTP status %d", status))
	}
	result, err := answer(body)
	if err != nil {
		return nil, failed(err)
	}
	return result, nil
}

// send returns status and body of the response, the latter up to a byte more than it may have.
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
	return body, response.StatusCode, err
}

// refusal is the error of a call that a webhook refused, or nil if it failed.
func refusal(status int, body []byte) error {
	if e := said(body); e != nil {
		return e
	}
	if status >= http.StatusBadRequest && status < http.StatusInternalServerError {
		return calleekit.Errorf(frame.Code(status), "%s", http.StatusText(status))
	}
	return nil
}
