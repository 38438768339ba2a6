package engine

import (
	"crypto/x509"
	"errors"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// hint says what to look at when a Redis cannot be used because of err.
func hint(err error) string {
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var refused goredis.Error
	switch {
	case errors.As(err, &name):
		return "give the name that the certificate is for by --redis-server-name, a sentinel's by --redis-sentinel-server-name"
	case errors.As(err, &authority):
		return "give the certificates to trust by --redis-ca"
	case !errors.As(err, &refused):
		return "does it run there, and are the URL and the password right?"
	case isLogin(err) && strings.Contains(err.Error(), ": sentinel "):
		return "the user and the password of sentinels are given by --redis-sentinel-user and --redis-sentinel-password-file"
	case isLogin(err):
		return "are the user and the password right?"
	}
	return "it refuses what juggler needs: docs/redis.md says which commands and rights that are"
}

// isLogin reports whether a server did not let us in.
func isLogin(err error) bool {
	for _, text := range []string{"NOAUTH", "WRONGPASS", "ERR AUTH ", "ERR invalid password", "failed to authenticate"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}
