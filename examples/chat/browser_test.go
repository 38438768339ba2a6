package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/juggler-go/juggler/internal/child"
)

// People in a real browser use two nodes behind nginx, which are replaced meanwhile: see
// web/test/e2e.mjs.
func TestBrowser(t *testing.T) {
	var ports [4]string
	for i := range ports {
		_, ports[i], _ = strings.Cut(freeAddress(t), ":")
	}
	cluster := exec.Command("./run", "cluster")
	cluster.Env = append(os.Environ(), "DATA="+t.TempDir(),
		"PORT="+ports[0], "REDIS_PORT="+ports[1], "NODE_PORTS="+ports[2]+" "+ports[3])
	cluster.Stderr = os.Stderr
	said, err := cluster.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(cluster); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cluster.Process.Signal(syscall.SIGTERM)
		cluster.Wait()
	})
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatalf("./run cluster: %v", err)
	}
	url := strings.TrimSpace(line[strings.LastIndex(line, " "):])

	people := exec.Command("node", "web/test/e2e.mjs", url, fmt.Sprint(cluster.Process.Pid))
	people.Stdin, people.Stdout, people.Stderr = said, os.Stdout, os.Stderr
	if err := child.Start(people); err != nil {
		t.Fatal(err)
	}
	if err := people.Wait(); err != nil {
		t.Errorf("%v; see above", err)
	}
}
