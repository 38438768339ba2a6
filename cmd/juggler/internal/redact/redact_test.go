package redact

import (
	"errors"
	"net/url"
	"testing"
)

func TestURL(t *testing.T) {
	for text, want := range map[string]string{
		"http://ann:hush@h/p":            "http://ann:xxxxx@h/p",
		"ws://h:1/?access=hush&b=2#hush": "ws://h:1/?access=xxxxx&b=xxxxx",
		"ws://h/?hush":                   "ws://h/?xxxxx",
		"https://h/p":                    "https://h/p",
		"http://ann:hu%sh@h/":            "a URL that cannot be read",
	} {
		if got := URL(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if got := Error(&url.Error{Op: "Post", URL: "http://h/?hush", Err: errors.New("refused")}); got != "refused" {
		t.Error(got)
	}
}
