package admin

import (
	"fmt"
	"log/slog"
	"net"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler/cmd/juggler/internal/listen"
)

// Flags say where to serve.
type Flags struct{ listen string }

// Bind adds the flag.
func (f *Flags) Bind(flags *pflag.FlagSet) {
	flags.StringVar(&f.listen, "admin-listen", "", "`address` for /metrics, /healthz, /readyz, /debug/vars and /debug/pprof, and of a server a page for operators; keep it from the public")
}

// On reports whether the flags say where to serve.
func (f *Flags) On() bool { return f.listen != "" }

// Check reports whether the address has the form that Start takes.
func (f *Flags) Check() error {
	if f.listen == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(f.listen)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return fmt.Errorf("--admin-listen %q: want HOST:PORT or :PORT", f.listen)
	}
	return nil
}

// Start serves s, if the flags say where, until its Close.
func (f *Flags) Start(s *Server, log *slog.Logger) error {
	if f.listen == "" {
		return nil
	}
	l, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("%w; choose another address with --admin-listen", err)
	}
	// Watch says what concerns operators.
	s.server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	log.Info("serving the admin address", "url", "http://"+l.Addr().String()+"/")
	go func() { // ends with Close
		if err := s.Serve(listen.Watch(l, log)); err != nil {
			log.Error("the admin address is served no more", "error", err)
		}
	}()
	return nil
}
