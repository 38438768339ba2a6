package main_test

import (
	"bufio"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.yaml.in/yaml/v3"

	"github.com/juggler-go/juggler/internal/freeport"
	"github.com/juggler-go/juggler/internal/redistest"
)

const deploy = "../../deploy/"

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The commands of the Dockerfile's build stage make a program that needs no
// library, so that it runs in an image that has none. What runs before all of
// the source is copied needs no more than the files that are there by then.
func TestDockerfileBuilds(t *testing.T) {
	out, dir := t.TempDir(), t.TempDir()
	ran := 0
	scanner := bufio.NewScanner(strings.NewReader(readFile(t, deploy+"Dockerfile")))
	for scanner.Scan() {
		instruction, rest, _ := strings.Cut(scanner.Text(), " ")
		switch {
		case scanner.Text() == "COPY . .":
			dir = "../.."
		case instruction == "COPY" && !strings.HasPrefix(rest, "--from"):
			copyFiles(t, dir, strings.Fields(rest))
		case instruction == "RUN":
			ran++
			cmd := exec.CommandContext(t.Context(), "sh", "-ec", strings.ReplaceAll(rest, "/out/", out+"/"))
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "VERSION=v1.2.3")
			if output, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", rest, err, output)
			}
		}
	}
	if ran < 2 {
		t.Fatalf("ran %d commands", ran)
	}
	binary, err := elf.Open(filepath.Join(out, "juggler"))
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program is linked dynamically")
		}
	}
	version, err := exec.CommandContext(t.Context(), filepath.Join(out, "juggler"), "version").Output()
	if err != nil || !strings.HasPrefix(string(version), "juggler v1.2.3,") {
		t.Errorf("version: %s, %v", version, err)
	}
}

// copyFiles copies files of the project to a folder below dir, which the last name
// names.
func copyFiles(t *testing.T, dir string, names []string) {
	t.Helper()
	to := filepath.Join(dir, names[len(names)-1])
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range names[:len(names)-1] {
		writeFile(t, filepath.Join(to, filepath.Base(name)), readFile(t, "../../"+name))
	}
}

// composeFile is what the test looks at.
type composeFile struct {
	Services map[string]struct {
		Image     string
		Command   []string
		Profiles  []string
		Volumes   []string
		DependsOn yaml.Node `yaml:"depends_on"`
	}
}

// Every command of ours in the files is one that the program accepts, and what
// a service depends on is there.
func TestComposeFiles(t *testing.T) {
	var all composeFile
	for _, name := range []string{"compose.yaml", "compose.cluster.yaml"} {
		var f composeFile
		if err := yaml.Unmarshal([]byte(readFile(t, deploy+name)), &f); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if all.Services == nil {
			all = f
		}
		for service, s := range f.Services {
			if verb := first(s.Command); verb == "serve" || verb == "callee" {
				command := mounted(s.Command, deploy+"rules.yaml")
				if got := run(t, "", append(command, "--check")...); got.code != 0 {
					t.Errorf("%s: %s: %+v", name, service, got)
				}
			}
			for _, needed := range dependencies(&s.DependsOn) {
				if _, ok := f.Services[needed]; !ok {
					t.Errorf("%s: %s depends on %s, which is not there", name, service, needed)
				}
			}
			for _, v := range s.Volumes {
				if _, err := os.Stat(deploy + strings.Split(v, ":")[0]); err != nil {
					t.Error(err)
				}
			}
			if _, ok := all.Services[service]; !ok && s.Image == "" {
				t.Errorf("%s: %s has no image", name, service)
			}
		}
	}
}

// rulesFile is where the rules are in a container.
const rulesFile = "/etc/juggler/rules.yaml"

// mounted returns a command of a container for a test that has its rules elsewhere.
func mounted(command []string, rules string) []string {
	command = slices.Clone(command)
	for i, word := range command {
		if word == rulesFile {
			command[i] = rules
		}
	}
	return command
}

// What the files start as clients is allowed by the rules beside them.
func TestComposeRules(t *testing.T) {
	var f composeFile
	if err := yaml.Unmarshal([]byte(readFile(t, deploy+"compose.yaml")), &f); err != nil {
		t.Fatal(err)
	}
	redis := redistest.Start(t)
	startCallee(t, "--redis", "redis://"+redis.Addr)
	_, url := startServe(t, "--redis", "redis://"+redis.Addr, "--rules", deploy+"rules.yaml")
	awaitCall(t, url)
	load := slices.Concat(f.Services["load"].Command[:len(f.Services["load"].Command)-1], []string{"--duration", "100ms", url})
	if got := run(t, "", load...); got.code != 0 || strings.Contains(got.stdout, "error 403") {
		t.Errorf("%v: %+v", load, got)
	}
	for line, code := range map[string]int{"psub public.*": 0, "pub public.a 1": 0, "psub *": 4, "call admin.secrets": 4} {
		if got := run(t, line+"\n", "client", url); got.code != code {
			t.Errorf("%s: %+v, want code %d", line, got, code)
		}
	}
}

func first(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

// dependencies reads a list, or the keys of a mapping.
func dependencies(n *yaml.Node) []string {
	var names []string
	for i := 0; i < len(n.Content); i++ {
		names = append(names, n.Content[i].Value)
		if n.Kind == yaml.MappingNode {
			i++
		}
	}
	return names
}

// Every command in the manifests is one that the program accepts.
func TestKubernetesManifests(t *testing.T) {
	d := yaml.NewDecoder(strings.NewReader(readFile(t, deploy+"kubernetes/juggler.yaml")))
	kinds := map[string]int{}
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	for {
		var m struct {
			APIVersion string `yaml:"apiVersion"`
			Kind       string
			Data       map[string]string
			Spec       struct {
				Template struct {
					Spec struct {
						Grace      int `yaml:"terminationGracePeriodSeconds"`
						Containers []struct{ Args []string }
					}
				}
			}
		}
		if d.Decode(&m) != nil {
			break
		}
		kinds[m.Kind]++
		if text := m.Data["rules.yaml"]; text != "" { // of the ConfigMap, which comes first
			writeFile(t, rules, text)
		}
		for _, c := range m.Spec.Template.Spec.Containers {
			cmd := command(t, append(mounted(c.Args, rules), "--check")...)
			cmd.Env = append(cmd.Env, "JUGGLER_REDIS=redis://redis:6379")
			if got := finish(t, cmd, ""); got.code != 0 {
				t.Errorf("%v: %+v", c.Args, got)
			}
			if took := drainTime(t, c.Args); took >= time.Duration(m.Spec.Template.Spec.Grace)*time.Second {
				t.Errorf("%v: draining takes up to %v, and is killed after %d s", c.Args, took, m.Spec.Template.Spec.Grace)
			}
		}
	}
	if kinds["Deployment"] != 2 || kinds["Service"] != 1 {
		t.Errorf("found %v", kinds)
	}
}

// drainTime adds up what draining may take.
func drainTime(t testing.TB, args []string) (sum time.Duration) {
	for i, a := range args {
		if strings.HasPrefix(a, "--drain-") {
			d, err := time.ParseDuration(args[i+1])
			if err != nil {
				t.Error(err)
			}
			sum += d
		}
	}
	return sum
}

// startBalancer starts nginx, HAProxy or Caddy with the project's own file, on
// other addresses.
func startBalancer(t testing.TB, name string, servers []string) (url string) {
	t.Helper()
	address := freeport.Address(t)
	dir := t.TempDir()
	var text string
	var args []string
	switch name {
	case "nginx":
		text = readFile(t, deploy+"nginx.conf")
		text = strings.ReplaceAll(text, "listen 8000", "listen "+address)
		text, args = nginxIn(dir, text)
	case "haproxy":
		text = strings.ReplaceAll(readFile(t, deploy+"haproxy.cfg"), "*:8000", address)
		text = strings.ReplaceAll(text, "maxconn 50000", "maxconn 500") // within anybody's limit of open files
		args = []string{"-db", "-f", dir + "/conf"}
	case "caddy":
		text = strings.Replace(readFile(t, deploy+"Caddyfile"), "app.example.com", "http://"+address, 1)
		text = "{\n\tadmin off\n}\n" + text
		args = []string{"run", "--adapter", "caddyfile", "--config", dir + "/conf"}
	}
	for i, s := range servers {
		text = strings.ReplaceAll(text, fmt.Sprintf("server%d:8080", i+1), s)
	}
	runBalancer(t, name, dir, text, args, address)
	return "ws://" + address + "/"
}

// nginxIn has nginx keep what it writes in a folder, and run as one process, which a test
// can kill.
func nginxIn(dir, text string) (conf string, args []string) {
	conf = strings.ReplaceAll(text, "/tmp/nginx.pid", dir+"/pid")
	conf = strings.Replace(conf, "http {", "http {\n    client_body_temp_path "+dir+"/b;\n    proxy_temp_path "+dir+"/p;\n    fastcgi_temp_path "+dir+"/f;\n    uwsgi_temp_path "+dir+"/u;\n    scgi_temp_path "+dir+"/s;\n", 1)
	return conf, []string{"-c", dir + "/conf", "-p", dir, "-e", "stderr", "-g", "daemon off; master_process off;"}
}

// runBalancer runs a load balancer with settings in the folder, until it listens.
func runBalancer(t testing.TB, name, dir, text string, args []string, address string) {
	t.Helper()
	writeFile(t, dir+"/conf", text)
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is needed: apt-get install -y %s", name, name)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), "HOME="+dir) // where Caddy keeps its state
	p := startCommand(t, cmd)
	awaitListener(t, p, address)
}

// awaitListener waits until p listens.
func awaitListener(t testing.TB, p *process, address string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for timeout := time.After(patience); ; {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return
		}
		select {
		case <-tick.C:
		case <-p.exited:
			t.Fatalf("it ended: %s", p.stderr)
		case <-timeout:
			t.Fatalf("nobody listens on %s", address)
		}
	}
}

// Behind nginx with the guide's settings the page's origin is the server's own. Without
// the line for Host it is not, and client and log are told both sides, and what to do.
func TestNginxOfTheGuide(t *testing.T) {
	t.Parallel()
	_, snippet, _ := strings.Cut(readFile(t, "../../docs/guide.md"), "```nginx\n")
	snippet, _, ok := strings.Cut(snippet, "```")
	const host = "proxy_set_header Host $http_host;"
	if !ok || !strings.Contains(snippet, host) {
		t.Fatalf("the guide has no settings for nginx: %s", snippet)
	}
	server, url := startServe(t, "--path", "/ws")
	backend := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(url), "ws://"), "/ws")
	front := func(snippet string) (status int, body string) {
		address, dir := freeport.Address(t), t.TempDir()
		snippet = strings.ReplaceAll(snippet, "127.0.0.1:8080", backend)
		text, args := nginxIn(dir, "pid /tmp/nginx.pid;\nevents {}\nhttp {\nserver {\nlisten "+address+";\n"+snippet+"}\n}\n")
		runBalancer(t, "nginx", dir, text, args, address)
		return openAsPage(t, "http://"+address, "http://"+address+"/ws")
	}
	if status, body := front(snippet); status != http.StatusSwitchingProtocols {
		t.Errorf("with the guide's settings: %d %s", status, body)
	}
	status, body := front(strings.Replace(snippet, host, "", 1))
	if status != http.StatusForbidden || !strings.Contains(body, backend) || !strings.Contains(body, "--origins") || !strings.Contains(body, "pass Host on") {
		t.Errorf("without Host: %d %s", status, body)
	}
	server.stderr.await(t, "pass Host on")
}

// openAsPage opens a WebSocket as a page of an origin does, and returns status and body
// of the answer.
func openAsPage(t *testing.T, origin, url string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
		"Sec-WebSocket-Protocol": "juggler.1", "Origin": origin,
	} {
		r.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusSwitchingProtocols {
		return response.StatusCode, ""
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// Two servers behind each load balancer, with the project's own files for it:
// one is killed under load, its clients move over, and nothing that was
// acknowledged on a connection that lives is lost. Then the other drains, when
// the first is back.
func TestBalancers(t *testing.T) {
	t.Parallel() // it mostly waits
	for _, name := range []string{"nginx", "haproxy", "caddy"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it mostly waits
			redis := redistest.Start(t)
			at := "redis://" + redis.Addr
			startCallee(t, "--redis", at)
			servers := []string{freeport.Address(t), freeport.Address(t)}
			one, _ := startServe(t, "--redis", at, "--listen", servers[0])
			two, _ := startServe(t, "--redis", at, "--listen", servers[1])
			url := startBalancer(t, name, servers)

			l := start(t, "load", "--clients", "20", "--rate", "300", "--publish", "20", "--channels", "4", "--duration", "8s", "--json", url)
			l.stderr.await(t, "20 clients connected")
			sub := start(t, "client", url, "psub", "news.*")
			sub.stderr.await(t, "subscribed")
			one.signal(syscall.SIGKILL)
			one.wait()
			awaitCall(t, url)
			startServe(t, "--redis", at, "--listen", servers[0])
			two.stop() // drains: every client goes to the first
			awaitCall(t, url)

			// The subscriber comes back by itself, in its own time.
			for end := time.Now().Add(patience); !strings.Contains(sub.stdout.String(), `"news.go"`) && time.Now().Before(end); {
				run(t, "", "client", url, "pub", "news.go", "1")
			}
			sub.stdout.await(t, `"news.go"`)
			code := l.wait()
			var r loadReport
			if err := json.Unmarshal([]byte(l.stdout.String()), &r); err != nil {
				t.Fatal(err)
			}
			if code != 0 || r.LostConnections < 10 || r.Calls == 0 || r.Lost+r.EventsDoubled+r.EventsDisorder != 0 {
				t.Errorf("code %d: %+v", code, r)
			}
		})
	}
}

// A client that has a long cookie gets through each load balancer, and sees the close code
// when it breaks a rule while it sends more. So do compressed messages, which say nothing to
// a balancer.
func TestBalancersPassCookiesAndCloseCodes(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	startServe(t, "--listen", address, "--compression")
	for _, name := range []string{"nginx", "haproxy", "caddy"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := startBalancer(t, name, []string{address, address})
			got := run(t, "", "load", "--compression", "--clients", "2", "--publish", "100", "--rate", "50", "--payload", "4096", "--duration", "200ms", "--json", url)
			if r := parseReport(t, got); got.code != 0 || r.Events == 0 || r.BytesReceived > 2048*r.Events || r.LostConnections != 0 {
				t.Errorf("compressed: %+v", got)
			}
			for want, op := range map[ws.StatusCode]ws.OpCode{1009: ws.OpText, 1003: ws.OpBinary} {
				for range 5 {
					if got := closeCode(t, url, op); got != want {
						t.Errorf("close code %d, want %d", got, want)
					}
				}
			}
		})
	}
}

// closeCode sends a message of two megabytes, and returns the code that the connection is
// closed with.
func closeCode(t *testing.T, url string, op ws.OpCode) ws.StatusCode {
	t.Helper()
	c, in := dialRaw(t, url)
	if err := ws.WriteFrame(c, ws.MaskFrame(ws.NewFrame(op, true, make([]byte, 2<<20)))); err != nil {
		return ws.StatusAbnormalClosure // what clients say that cannot write, such as those in Node
	}
	for {
		op, payload, err := readFrame(in)
		if err != nil {
			return ws.StatusAbnormalClosure
		}
		if op == ws.OpClose {
			code, _ := ws.ParseCloseFrameData(payload)
			return code
		}
	}
}

// dialRaw opens a session that does nothing by itself, with a long cookie: its connection,
// and what to read of it.
func dialRaw(t *testing.T, url string) (net.Conn, io.Reader) {
	t.Helper()
	cookie := http.Header{"Cookie": {"session=" + strings.Repeat("c", 20<<10)}}
	d := ws.Dialer{Protocols: []string{"juggler.1"}, Header: ws.HandshakeHeaderHTTP(cookie)}
	c, buffered, _, err := d.Dial(t.Context(), strings.TrimSpace(url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if buffered != nil { // HELLO came with the response
		return c, io.MultiReader(buffered, c)
	}
	return c, c
}

// readFrame reads a frame of the server.
func readFrame(in io.Reader) (ws.OpCode, []byte, error) {
	h, err := ws.ReadHeader(in)
	if err != nil {
		return 0, nil, err
	}
	payload := make([]byte, h.Length)
	_, err = io.ReadFull(in, payload)
	return h.OpCode, payload, err
}

// awaitCall waits until a call succeeds.
func awaitCall(t testing.TB, url string) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		got := run(t, "", "client", "--timeout", "2s", url, "call", "test.echo", "1")
		if got.code == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no call succeeds: %+v", got)
		}
	}
}
