package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/internal/freeport"
	"github.com/juggler-go/juggler/internal/redistest"
)

var block = regexp.MustCompile("(?s)```(go|sh)\n(.*?)```")

// The tutorial works: its program is built against this checkout, and its
// commands are run as they stand, but for what fetches and installs.
func TestTutorial(t *testing.T) {
	redis := redistest.Start(t)
	dir := t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, b := range block.FindAllStringSubmatch(readFile(t, "../../docs/tutorial.md"), -1) {
		if b[1] == "go" {
			writeFile(t, filepath.Join(dir, "main.go"), b[2])
			continue
		}
		commands = append(commands, b[2])
	}
	module := strings.Replace(readFile(t, "../../go.mod"), "module github.com/juggler-go/juggler", "module example.com/chat", 1)
	module += "\nrequire github.com/juggler-go/juggler v0.0.0\nreplace github.com/juggler-go/juggler => " + root + "\n"
	writeFile(t, filepath.Join(dir, "go.mod"), module)
	writeFile(t, filepath.Join(dir, "go.sum"), readFile(t, "../../go.sum"))

	script := strings.Join(commands, "\n")
	for _, skipped := range []string{"mkdir chat && cd chat", "go mod init example.com/chat", "go get github.com/juggler-go/juggler@latest",
		"go mod tidy", "go install github.com/juggler-go/juggler/cmd/juggler@latest"} {
		if !strings.Contains(script, skipped+"\n") {
			t.Errorf("the tutorial has no %q any more", skipped)
		}
		script = strings.Replace(script, skipped+"\n", "", 1)
	}
	first, second := freeport.Address(t), freeport.Address(t)
	script = strings.NewReplacer("127.0.0.1:8091", first, "127.0.0.1:8092", second, "127.0.0.1:6390", redis.Addr).Replace(script)
	// What is started in the background is waited for, as a reader does.
	script = regexp.MustCompile(`(?m)^(.*)chat (127\.0\.0\.\d+:\d+) &$`).ReplaceAllString(script, "${1}chat $2 &\nuntil juggler client --timeout 1s ws://$2/ws pub room 1 2>/dev/null; do :; done")
	if n := strings.Count(script, "until juggler client"); n != 3 {
		t.Fatalf("%d servers are started and waited for, want 3", n)
	}
	script = strings.Replace(script, "sub room &", "sub room >events 2>subscribed &\nuntil grep -q subscribed subscribed; do :; done", 1)
	script = regexp.MustCompile(`(?m)^(juggler callee .*) &$`).ReplaceAllString(script, "$1 2>callee &\nuntil grep -q answering callee; do :; done")
	script = strings.Replace(script, `call chat.shout '""'`, `call chat.shout '""' || echo "code $?"`, 1)
	script = "set -em\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\n" + script + "\ncat events\n"

	cmd := command(t)
	cmd.Path, cmd.Args, cmd.Dir = "/bin/bash", []string{"bash", "-c", script}, dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"), "GOFLAGS=-mod=mod")
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, output)
	}
	inOrder(t, string(output), `"HELLO"`, `{"error":{"code":422,"message":"there is nothing to shout"}}`, "code 5",
		"lost 0, unexpected 0", `"HELLO"`, "\n7\n", `"channel":"room"`)
}
