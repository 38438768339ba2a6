package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
)

// A limit can be set alone, wherever it is set: what it needs follows.
func TestLimitsThatAreSetAlone(t *testing.T) {
	for name, value := range map[string]string{
		"max-message-bytes": "2MiB", "max-call-timeout": "30s", "max-queue-bytes": "128KiB", "call-timeout": "5m", "max-sessions": "0", "event-loops": "0",
	} {
		file := filepath.Join(t.TempDir(), "settings.yaml")
		if err := os.WriteFile(file, []byte(name+": "+value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for source, line := range map[string]struct{ args, environ []string }{
			"command line": {[]string{"--" + name, value}, nil},
			"variable":     {nil, []string{settings.Variable(name) + "=" + value}},
			"file":         {[]string{"--" + settings.FileFlag, file}, nil},
		} {
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			flags.String(settings.FileFlag, "", "")
			limits := bindLimits(flags)
			if n := len(limits.List()); n != 0 {
				t.Fatalf("%d options where nothing was set", n)
			}
			if err := flags.Parse(line.args); err != nil {
				t.Fatal(err)
			}
			if err := (settings.Schema{"serve": flags}).Apply("serve", line.environ); err != nil {
				t.Fatal(err)
			}
			if n := len(limits.List()); n != 1 && value != "0" {
				t.Errorf("%s by %s: %d options", name, source, n)
			}
			h, err := juggler.New(limits.List()...)
			if err != nil {
				t.Errorf("%s by %s: %v", name, source, err)
				continue
			}
			if err := h.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

// What docs/operations.md says of the defaults of settings is true.
func TestOperationsStateDefaults(t *testing.T) {
	operations, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	serve, _, _ := newRoot().Find([]string{"serve"})
	stated := regexp.MustCompile("`--([a-z-]+)` \\((\\d+) (s|ms)\\)").FindAllStringSubmatch(string(operations), -1)
	if len(stated) < 2 {
		t.Errorf("docs/operations.md states %d defaults of settings", len(stated))
	}
	for _, m := range stated {
		if f := serve.Flags().Lookup(m[1]); f == nil || f.DefValue != m[2]+m[3] {
			t.Errorf("docs/operations.md says %s", m[0])
		}
	}
}
