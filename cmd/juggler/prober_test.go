package main_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/internal/freeport"
)

const pythonProgram = "../../examples/python-client/probe.py"

// The client in Python keeps to the protocol, as far as it goes.
func TestPythonClient(t *testing.T) {
	t.Parallel()
	got := run(t, "", "prober", "--patience", patience.String(), "--parallel", "8", "--level", "basic,history", "python3", pythonProgram)
	if got.code != 0 || !strings.Contains(got.stdout, " passed, 0 failed, 1 left out\n") {
		t.Errorf("%+v", got)
	}
}

// It does so with a real server, too, and after that has died.
func TestPythonClientAndServer(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	server := start(t, "demo", "--listen", address)
	url := server.stdout.await(t, "ws://")
	client := startCommand(t, exec.Command("python3", pythonProgram, url))
	n := 0
	do := func(command string) string {
		n++
		fmt.Fprintf(client.stdin, `{"n":%d,"do":%s}`+"\n", n, command)
		return fmt.Sprintf(`{"n": %d, `, n)
	}
	says := func(line string) { t.Helper(); client.stdout.await(t, line) }

	says(do(`"call","uri":"test.reverse","args":"regguj"`) + `"result": "jugger"}`)
	says(do(`"call","uri":"nobody.there","args":null`) + `"error": {"code": 404, `)
	kept := do(`"subscribe","channel":"room.7"`)
	says(kept + `"result": null}`)
	says(do(`"publish","channel":"room.7","args":{"text":"hello"}`) + `"result": null}`)
	says(kept + `"channel": "room.7", "event": {"text": "hello"}}`)

	server.cmd.Process.Kill() //nolint:errcheck // it runs
	server.wait()
	start(t, "demo", "--listen", address)
	says(kept + `"gap": true}`) // its broker has forgotten
	says(do(`"publish","channel":"room.7","args":2`) + `"result": null}`)
	says(kept + `"channel": "room.7", "event": 2}`)
	client.stdin.Close() //nolint:errcheck // it ends then
	if code := client.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// The verb says what is wrong with how it is called.
func TestProber(t *testing.T) {
	for args, want := range map[string]string{
		"":                    "the program with the client is missing",
		"--level fast true":   `--level "fast": want all, or some of basic, `,
		"--case nothing true": `--case "nothing": there is no such case`,
		"./not-here":          "not-here",
		"--patience 0s true":  "--patience",
	} {
		if got := run(t, "", append([]string{"prober"}, strings.Fields(args)...)...); got.code != 2 || !strings.Contains(got.stderr, want) {
			t.Errorf("prober %s: %+v", args, got)
		}
	}
	if got := run(t, "", "prober", "--case", "call", "true"); got.code != 1 || !strings.Contains(got.stdout, "0 passed, 1 failed, 0 left out") {
		t.Errorf("%+v", got)
	}
	if got := run(t, "", "prober", "--list"); got.code != 0 || !strings.Contains(got.stdout, "\npresence\n  here ") {
		t.Errorf("%+v", got)
	}
}
