// Package listen opens what servers listen on: TCP and Unix sockets, with TLS
// whose certificates can be reloaded, behind proxies that are trusted or not.
package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
)

// unixPrefix is what the addresses of Unix sockets begin with.
const unixPrefix = "unix:"

// IsUnix reports whether an address is that of a Unix socket.
func IsUnix(address string) bool { return strings.HasPrefix(address, unixPrefix) }

// IsLocal reports whether only this machine can connect to an address, as far as its text
// tells: a name is taken for that of others, unless it is localhost.
func IsLocal(address string) bool {
	if IsUnix(address) {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// Check reports whether an address has the form that Open takes.
func Check(address string) error {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok && path != "" {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return fmt.Errorf("%q: want HOST:PORT, :PORT or unix:PATH", address)
	}
	return nil
}

// Open listens on HOST:PORT, or for unix:PATH on a Unix socket with the mode. A
// socket that a process left behind when it was killed is replaced.
func Open(address string, mode fs.FileMode) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, unixPrefix)
	if !ok {
		l, err := net.Listen("tcp", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w; choose another address with --listen", err)
		}
		return l, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes a socket on which nobody listens.
func removeStale(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return nil // nothing there, or a file that Listen will refuse
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		return errors.Join(fmt.Errorf("listen %s: another process listens there", path), c.Close())
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	return nil
}

// URL returns the WebSocket URL of a listener, for people to try.
func URL(l net.Listener, path string, tls bool) string {
	if l.Addr().Network() == "unix" {
		return "ws+unix:" + l.Addr().String() + ":" + path
	}
	scheme := "ws"
	if tls {
		scheme = "wss"
	}
	return scheme + "://" + l.Addr().String() + path
}
