package outside

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/redact"
	"github.com/juggler-go/juggler/frame"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
)

// Webhook answers calls by POST to a URL: the args are the body, as JSON. The
// URI is in the header Juggler-URI, the headers, as JSON, in Juggler-Headers, and the key of
// a call that has one ([calleekit.Call.Key]) in Idempotency-Key.
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
//
// A body of 2xx that is lines of JSON, or an event stream with JSON as the data, is parts
// of the answer, and the result is null. While the caller takes no more, nothing is read. A
// body that ends in an error of the form above fails the call with it.
func (h *Webhook) Answer(ctx context.Context, c *calleekit.Call) (any, error) {
	limited, cancel := context.WithTimeoutCause(ctx, h.limits.Timeout, errTooLong)
	defer cancel()
	request, err := h.request(limited, c)
	if err != nil {
		return nil, h.failed(redact.Error(err))
	}
	response, err := h.client.Do(request)
	if err != nil {
		return nil, h.lost(ctx, limited, err)
	}
	defer response.Body.Close()
	if read := readerOfParts(response); read != nil {
		out := &parts{call: c, limits: h.limits}
		return h.partsOutcome(ctx, limited, out, read(out, limited, response.Body))
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, int64(h.limits.MaxOutput)+1))
	status := response.StatusCode
	switch {
	case err != nil:
		return nil, h.lost(ctx, limited, err)
	case len(body) > h.limits.MaxOutput:
		return nil, h.limits.tooLong()
	case status < 200 || status > 299:
		if e := refusal(status, body); e != nil {
			return nil, e
		}
		return nil, h.failed(fmt.Sprintf("HTTP status %d", status))
	}
	result, err := answer(body)
	if err != nil {
		return nil, h.failed(err)
	}
	return result, nil
}

// request returns the request for a call.
func (h *Webhook) request(ctx context.Context, c *calleekit.Call) (*http.Request, error) {
	args := c.Args
	if len(args) == 0 {
		args = json.RawMessage("null")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(args))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Juggler-URI", url.PathEscape(c.URI))
	request.Header.Set("Juggler-Headers", headersText(c))
	for name, value := range jugglerotel.Headers(ctx) { // of the callee's span, if it has one
		request.Header.Set(name, value)
	}
	if key := c.Key(); key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	if c.Streaming() {
		request.Header.Set("Accept", "application/x-ndjson, application/jsonl, text/event-stream, application/json")
	}
	if deadline, ok := ctx.Deadline(); ok {
		request.Header.Set("Juggler-Timeout-Ms", fmt.Sprint(max(1, time.Until(deadline).Milliseconds())))
	}
	return request, nil
}

func (h *Webhook) failed(why any) error { return fmt.Errorf("webhook %s: %v", h.shown, why) }

// lost is the error of a call whose response did not come, or not whole: ctx is the call's,
// limited what the webhook had of it.
func (h *Webhook) lost(ctx, limited context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(context.Cause(limited), errTooLong):
		return h.failed(errTooLong)
	}
	return h.failed(redact.Error(err))
}

// readerOfParts returns what reads the body of a response as parts, or nil.
func readerOfParts(response *http.Response) func(*parts, context.Context, io.Reader) error {
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil
	}
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	switch kind {
	case "application/x-ndjson", "application/jsonl":
		return (*parts).lines
	case "text/event-stream":
		return (*parts).events
	}
	return nil
}

// partsOutcome ends a call whose answer was read as parts, with err.
func (h *Webhook) partsOutcome(ctx, limited context.Context, out *parts, err error) (any, error) {
	if err == nil {
		if e := said(out.held); e != nil {
			return nil, e
		}
		err = out.release(limited)
	}
	refused := (*calleekit.Error)(nil)
	switch {
	case err == nil:
		return nil, nil
	case errors.As(err, &refused):
		return nil, err
	}
	return nil, h.lost(ctx, limited, err)
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
