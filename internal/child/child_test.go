//go:build linux

package child_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/juggler-go/juggler/internal/child"
)

const role = "JUGGLER_TEST_PARENT"

// TestMain is also the parent: a process that starts a child and waits.
func TestMain(m *testing.M) {
	if os.Getenv(role) == "" {
		os.Exit(m.Run())
	}
	grandchild := exec.Command("sleep", "600")
	grandchild.Stdout = os.Stdout // open as long as either lives
	if err := child.Start(grandchild); err != nil {
		os.Exit(1)
	}
	os.Stdout.WriteString("started\n")
	select {}
}

func TestAChildDoesNotOutliveItsParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), role+"=1")
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(parent); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stdout)
	if line, err := out.ReadString('\n'); line != "started\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(out); len(rest) > 0 || err != nil { // returns when the child is gone
		t.Errorf("then %q, %v", rest, err)
	}
	if err := parent.Wait(); err == nil {
		t.Error("the parent was not killed")
	}
}
