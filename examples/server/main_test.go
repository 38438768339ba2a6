package main

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/child"
)

func TestMain(m *testing.M) {
	if os.Getenv("SERVER") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// A call that runs when the process is told to stop is answered before it ends.
func TestStopsInOrder(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "SERVER=1")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(cmd); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stderr)
	line, err := lines.ReadString('\n')
	_, url, ok := strings.Cut(strings.TrimSpace(line), "serving ")
	if !ok {
		t.Fatalf("it says %q, %v", line, err)
	}
	c, err := client.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	report, err := c.Start(t.Context(), "report.make", 0.5)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := report.Result(t.Context(), &got); err != nil || got != "a report of 0.5 seconds" {
		t.Errorf("got %q, %v", got, err)
	}
	c.Close() // it would wait for its turn to leave
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		t.Log(line)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
