package main_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each testdata/config/NAME.yaml has what config check says about it in
// NAME.golden.
func TestConfigCheck(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			got := run(t, "", "config", "check", file)
			text := got.stdout + got.stderr
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if text != string(want) {
				t.Errorf("got:\n%swant:\n%s", text, want)
			}
			if good := strings.HasSuffix(text, ": ok\n"); good != (got.code == 0) || !good && got.code != 2 {
				t.Errorf("exit code %d", got.code)
			}
		})
	}
}

func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "juggler.yaml")
	if err := os.WriteFile(file, []byte("path: /top\nserve:\n  path: /section\n  max-calls: 7\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		env  []string
		args []string
		want string
	}{
		{"default", nil, nil, "/"},
		{"file", nil, []string{"--config", file}, "/section"},
		{"file named by a variable", []string{"JUGGLER_CONFIG=" + file}, nil, "/section"},
		{"variable over file", []string{"JUGGLER_PATH=/variable"}, []string{"--config", file}, "/variable"},
		{"command line over variable", []string{"JUGGLER_PATH=/variable"}, []string{"--config", file, "--path", "/flag"}, "/flag"},
		{"empty variable", []string{"JUGGLER_PATH="}, []string{"--config", file}, "/section"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := command(t, append([]string{"serve", "--listen", "127.0.0.1:0"}, tt.args...)...)
			cmd.Env = append(cmd.Env, tt.env...)
			p := startCommand(t, cmd)
			if url := p.stdout.await(t, ""); !strings.HasSuffix(url, tt.want) || strings.Count(url, "/") != 3 {
				t.Errorf("URL %s, want path %s", url, tt.want)
			}
			p.stop()
		})
	}
}

func TestVariables(t *testing.T) {
	for _, tt := range []struct {
		verb, env string
		code      int
		want      string
	}{
		{"serve", "JUGGLER_PING=soon", 2, `JUGGLER_PING: "soon" is not a value for it: want a time such as 500ms, 10s or 5m; 10ms to 1h`},
		{"serve", "JUGGLER_MAX_CALLS=1e3", 2, `JUGGLER_MAX_CALLS: "1e3" is not a value for it: want a number, 0 to 1000000`},
		{"serve", "JUGGLER_CONFIG=/nowhere/juggler.yaml", 2, "open /nowhere/juggler.yaml: no such file or directory"},
		{"serve", "JUGGLER_MAX_SESSION=5", 0, "the variable JUGGLER_MAX_SESSION is not known; did you mean JUGGLER_MAX_SESSIONS?"},
		{"demo", "JUGGLER_LISTN=:1", 0, "the variable JUGGLER_LISTN is not known; did you mean JUGGLER_LISTEN?"},
		{"demo", "JUGGLER_LOG_LEVEL=loud", 2, `JUGGLER_LOG_LEVEL: "loud" is not a value for it`},
		{"client", "JUGGLER_PROTOCOL=juggler.2", 2, `JUGGLER_PROTOCOL: "juggler.2" is not a value for it: want one of any, juggler.1, juggler.0`},
		{"client", "JUGGLER_TOKEN_FILE=/nowhere/token", 2, "--token-file: open /nowhere/token: no such file or directory"},
		{"serve", "JUGGLER_ORIGINS=https://a,", 2, "JUGGLER_ORIGINS: has an empty entry"},
		{"client", "JUGGLER_TOKN=x", 0, "juggler: the variable JUGGLER_TOKN is not known; did you mean JUGGLER_TOKEN?"},
		{"load", "JUGGLER_RATE=fast", 2, `JUGGLER_RATE: "fast" is not a value for it: want a number`},
		{"load", "JUGGLER_CLIENTS=10", 0, ""},
		{"health", "JUGGLER_TIMEOUT=0", 2, `JUGGLER_TIMEOUT: "0" is not a value for it: want a time`},
		{"serve", "JUGGLER_PORT_8080_TCP=tcp://10.0.0.1:8080", 0, ""}, // made by Kubernetes for a service
	} {
		cmd := command(t, tt.verb, "--check")
		cmd.Env = append(cmd.Env, tt.env)
		got := finish(t, cmd, "")
		if got.code != tt.code || !strings.Contains(got.stderr, tt.want) || tt.want == "" && got.stderr != "" {
			t.Errorf("%s: %+v, want %d and %q", tt.env, got, tt.code, tt.want)
		}
	}
}

// Every command says in its help how to use it, with an example.
func TestHelp(t *testing.T) {
	for _, verb := range []string{"demo", "serve", "callee", "client", "load", "prober", "redis-bench", "config check", "contract ts", "contract check", "health", "nodes", "disconnect", "revoke", "unsubscribe"} {
		got := run(t, "", append(strings.Fields(verb), "--help")...)
		if got.code != 0 || !strings.Contains(got.stdout, "Examples:\n  juggler "+verb) {
			t.Errorf("%s --help: %+v", verb, got)
		}
	}
	if got := run(t, "", "version"); got.code != 0 || !strings.HasPrefix(got.stdout, "juggler ") {
		t.Errorf("version: %+v", got)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := run(t, "", "completion", shell); got.code != 0 || !strings.Contains(got.stdout, "juggler") {
			t.Errorf("completion %s: code %d", shell, got.code)
		}
	}
}
