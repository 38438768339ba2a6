// Package redact takes secrets out of URLs that are shown or logged.
package redact

import (
	"errors"
	"net/url"
	"strings"
)

// URL returns text, a URL, without its password and the values of its query, either of
// which may be a secret.
func URL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "a URL that cannot be read" // whatever is in it
	}
	if u.RawQuery != "" {
		names := strings.Split(u.RawQuery, "&")
		for i, pair := range names {
			if name, _, ok := strings.Cut(pair, "="); ok {
				names[i] = name + "=xxxxx"
			} else {
				names[i] = "xxxxx"
			}
		}
		u.RawQuery = strings.Join(names, "&")
	}
	u.Fragment, u.RawFragment = "", ""
	return u.Redacted()
}

// Error returns the text of an error of an http.Client, without the URL that such errors
// begin with.
func Error(err error) string {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err.Error()
	}
	return err.Error()
}
