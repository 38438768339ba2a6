package prober_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/juggler-go/juggler/cmd/juggler/internal/prober"
	"github.com/juggler-go/juggler/internal/waiting"
)

// role makes the test's own program one with a client, right or wrong.
const (
	role  = "JUGGLER_TEST_CLIENT"
	right = "right"
)

// program returns the command of a program with a client.
func program(client string) []string { return []string{"env", role + "=" + client, os.Args[0]} }

func TestMain(m *testing.M) {
	if os.Getenv(role) != "" {
		url, serve := os.Args[len(os.Args)-1], serveWrong
		if os.Getenv(role) == right {
			serve = func(_, url string) error { return serveProber(url, os.Stdout) }
		}
		if err := serve(os.Getenv(role), url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	waiting.AtOnce(16) // most of them wait for what a wrong client does not do
	goleak.VerifyTestMain(m,
		// The thread that starts programs stays to the end of the process.
		goleak.IgnoreAnyFunction("github.com/juggler-go/juggler/internal/child.runOnOneThread"))
}

func readProtocol(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Each case quotes the protocol, and can be played.
func TestCases(t *testing.T) {
	protocol, names := readProtocol(t), make(map[string]bool)
	for _, c := range prober.Cases() {
		if names[c.Name] {
			t.Errorf("%s is there twice", c.Name)
		}
		names[c.Name] = true
		if !strings.Contains(protocol, c.Rule) || len(c.Rule) < 20 || c.What == "" {
			t.Errorf("%s: docs/protocol.md does not say %q", c.Name, c.Rule)
		}
		for i, step := range c.Steps {
			checkStep(t, fmt.Sprintf("%s, step %d", c.Name, i+1), step)
		}
	}
}

// checkStep sees to it that a step does one thing, and that its JSON is some.
func checkStep(t *testing.T, where string, step prober.Step) {
	t.Helper()
	does := 0
	for _, text := range []json.RawMessage{step.Tell, step.Told, step.Want, step.Send} {
		if text != nil {
			does++
			if !json.Valid(text) {
				t.Errorf("%s: %s is no JSON", where, text)
			}
		}
	}
	for _, is := range []bool{
		step.Accept != nil, step.Text != "", step.Pings > 0, step.WSPing != "", step.Close > 0, step.Drop, step.Gone,
		step.Storm != nil, step.Quiet > 0, step.Either != nil,
	} {
		if is {
			does++
		}
	}
	if does != 1 {
		t.Errorf("%s does %d things", where, does)
	}
	for _, branch := range step.Either {
		for i, step := range branch {
			checkStep(t, fmt.Sprintf("%s, branch, step %d", where, i+1), step)
		}
	}
}

// What is listed and printed is what is played.
func TestListAndPrint(t *testing.T) {
	cases := prober.Cases()
	var list, text strings.Builder
	if err := errors.Join(prober.List(&list, cases), prober.Print(&text, cases)); err != nil {
		t.Fatal(err)
	}
	var again []prober.Case
	if err := json.Unmarshal([]byte(text.String()), &again); err != nil || len(again) != len(cases) {
		t.Errorf("%d cases, %v", len(again), err)
	}
	for _, c := range cases {
		if !strings.Contains(list.String(), "  "+c.Name+" ") || !strings.Contains(list.String(), c.What) {
			t.Errorf("%s is not listed", c.Name)
		}
	}
}

// A program that cannot be started is said, and so is one that only ends.
func TestNoProgram(t *testing.T) {
	for command, want := range map[string]string{"/does/not/exist": "no such file", "true": "ended before its standard input did"} {
		var out strings.Builder
		report, err := prober.Run(t.Context(), prober.Config{
			Command: []string{command}, Cases: prober.Cases()[:1], Patience: waiting.Most, Parallel: 1,
		}, &out)
		if err != nil || report.Failed != 1 || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %+v, %v\n%s", command, report, err, &out)
		}
	}
}

// What a program that hangs has started is ended with it.
func TestHangs(t *testing.T) {
	var out strings.Builder
	report, err := prober.Run(t.Context(), prober.Config{
		Command: []string{"sh", "-c", "sleep 600 & wait"}, Cases: prober.Cases()[:1], Patience: 100 * time.Millisecond, Parallel: 1,
	}, &out)
	if err != nil || report.Failed != 1 || !strings.Contains(out.String(), "waited 100ms in vain: the client connects") {
		t.Errorf("%+v, %v\n%s", report, err, &out)
	}
}

// Who interrupts it waits for nothing.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, err := prober.Run(ctx, prober.Config{
		Command: []string{"sh", "-c", "exec sleep 600"}, Cases: prober.Cases()[:5], Patience: waiting.Most, Parallel: 2,
	}, new(strings.Builder))
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestGoClient(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	report, err := prober.Run(t.Context(), prober.Config{
		Command: program(right), Cases: prober.Cases(), Patience: waiting.Most, Parallel: 8,
	}, &out)
	if err != nil || report.Failed > 0 || report.Passed+report.Left != len(prober.Cases()) {
		t.Errorf("%+v, %v\n%s", report, err, &out)
	}
}
