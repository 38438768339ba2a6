package resp

import (
	"errors"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// IsServerError reports whether err is an error that the server replied with, to us or
// to go-redis.
func IsServerError(err error) bool {
	var reply goredis.Error
	return errors.As(err, &reply)
}

// SuggestsFailover reports whether the server said something that makes it likely
// that another one is master now. One that has lost its replicas may have been
// replaced behind its back.
func SuggestsFailover(err error) bool {
	return IsMisdirected(err) || err != nil && IsServerError(err) && strings.Contains(err.Error(), "NOREPLICAS ")
}

// IsOutOfMemory reports whether the server refused what needs memory.
func IsOutOfMemory(err error) bool {
	var reply goredis.Error
	return errors.As(err, &reply) && strings.HasPrefix(reply.Error(), "OOM ")
}

// IsMisdirected reports whether the server said that it is not the one to ask, or not
// yet. Nothing was done.
func IsMisdirected(err error) bool {
	if err == nil || !IsServerError(err) {
		return false
	}
	text := err.Error()
	for _, prefix := range misdirected {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	// The error of a command inside a script, as Redis before 7 words it when it is
	// raised and when it is caught.
	return (strings.HasPrefix(text, "ERR Error running script") || strings.HasPrefix(text, "@user_script: ")) &&
		strings.Contains(text, "-READONLY ")
}

// misdirected are the errors after which another connection, or the same one a
// moment later, may do better. While a slot migrates, scripts get TRYAGAIN
// or ASK: a script needs all its keys at one place, so it waits for the end, which is a
// matter of milliseconds for few keys.
var misdirected = []string{
	"MOVED ", "ASK ", "TRYAGAIN ", "CLUSTERDOWN ", // a cluster that changes
	"READONLY ", "LOADING ", "MASTERDOWN ", "UNBLOCKED ", // a failover, a start
}

// IsDenied reports whether an error says that the server does not have a command, or
// that the user may not run it, or not on our keys and channels.
func IsDenied(text string) bool {
	for _, part := range []string{"nknown command", "Unknown Redis command", "NOPERM", "can't run this command", "can't access at least one"} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
