package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/juggler-go/juggler/internal/freeport"
	"github.com/juggler-go/juggler/internal/redistest"
)

// script writes a program and returns its path.
func script(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrograms(t *testing.T) {
	t.Parallel() // it mostly waits
	redis := redistest.Start(t)
	hurried := startCallee(t, "--redis", "redis://"+redis.Addr, "--test=false", "--outside-timeout", "300ms", "--error-texts",
		"--exec", "x.hangs="+script(t, "sleep 600 & wait"),
		"--exec", "x.stubborn="+script(t, "trap '' TERM; sleep 600 & wait; wait"))
	c := startCallee(t, "--redis", "redis://"+redis.Addr, "--outside-max-output", "1KiB",
		"--exec", "x.cat=cat",
		"--exec", "x.words=printf '[\"%s\",\"%s\"]' 'a b' c",
		"--exec", "x.env="+script(t, `printf '{"uri":"%s","headers":%s}' "$JUGGLER_URI" "$JUGGLER_HEADERS"`),
		"--exec", "x.nothing=true",
		"--exec", "x.wrong="+script(t, "echo 'secret' >&2; exit 65"),
		"--exec", "x.says="+script(t, `echo '{"error":{"code":409,"message":"sold out","data":[1],"retry_after":50}}'; exit 1`),
		"--exec", "x.fails="+script(t, "echo 'what happened' >&2; exit 1"),
		"--exec", "x.text=echo hello",
		"--exec", "x.megabytes="+script(t, "yes"),
		"--exec", "x.killed="+script(t, "kill -9 $$"))
	_, url := startServe(t, "--redis", "redis://"+redis.Addr)
	for _, tt := range []struct {
		uri, args string
		code      int
		want      string // in stdout
		log       string // of a callee
	}{
		{"x.cat", `{"a": [1]}`, 0, `{"a": [1]}`, ""},
		{"x.words", `1`, 0, `["a b","c"]`, ""},
		{"x.env", `1`, 0, `{"uri":"x.env","headers":{"k":"v"}}`, ""},
		{"x.nothing", `1`, 0, `null`, ""},
		{"x.wrong", `1`, 5, `{"error":{"code":400,"message":"the args are wrong"}}`, "secret"},
		{"x.says", `1`, 5, `{"error":{"code":409,"message":"sold out","data":[1],"retry_after":50}}`, ""},
		{"x.fails", `1`, 5, `"code":500,"message":"internal error"`, "what happened"},
		{"x.text", `1`, 5, `"code":500`, "its answer is not JSON"},
		{"x.megabytes", `1`, 5, `"code":413,"message":"the answer has more than 1024 bytes"`, ""},
		{"x.hangs", `1`, 5, `program: it took too long`, "it took too long"},
		{"x.stubborn", `1`, 5, `"code":500`, "it took too long"},
		{"x.killed", `1`, 5, `"code":500`, "signal: killed"},
	} {
		got := run(t, "", "client", url, "--header", "k=v", "call", tt.uri, tt.args)
		if got.code != tt.code || !strings.Contains(got.stdout, tt.want) {
			t.Errorf("%s: %+v, want %d and %s", tt.uri, got, tt.code, tt.want)
		}
		switch {
		case tt.uri == "x.hangs", tt.uri == "x.stubborn":
			hurried.stderr.await(t, tt.log)
		case tt.log != "":
			c.stderr.await(t, tt.log)
		}
	}
	hurried.stop()
	c.stop()
}

// awaitDeath waits until a process is gone, or a zombie that nobody collects.
func awaitDeath(t testing.TB, pid int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("process %d is left", pid)
		}
	}
}

// writePID is a line of a script that writes a process's id to a file, whole.
func writePID(pid, file string) string {
	return "echo " + pid + " >" + file + ".new; mv " + file + ".new " + file + "\n"
}

// awaitPID waits for what writePID writes.
func awaitPID(t testing.TB, file string) int {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for timeout := time.After(patience); ; {
		select {
		case <-tick.C:
			if text, err := os.ReadFile(file); err == nil {
				pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
				if err != nil {
					t.Fatal(err)
				}
				return pid
			}
		case <-timeout:
			t.Fatal("the program was not started")
		}
	}
}

// A program ends with its call, and so does what it started; and it does not
// outlive a callee that is killed.
func TestProgramsEnd(t *testing.T) {
	redis := redistest.Start(t)
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	c := startCallee(t, "--redis", "redis://"+redis.Addr,
		"--exec", "x.starts="+script(t, "sleep 600 &\n"+writePID("$!", file("started"))+"wait"),
		"--exec", "x.hangs="+script(t, writePID("$$", file("hangs"))+"exec sleep 600"))
	_, url := startServe(t, "--redis", "redis://"+redis.Addr)
	p := start(t, "client", url)
	fmt.Fprintln(p.stdin, "call x.starts")
	pid := awaitPID(t, file("started"))
	fmt.Fprintln(p.stdin, "cancel 1")
	awaitDeath(t, pid)

	fmt.Fprintln(p.stdin, "call x.hangs")
	pid = awaitPID(t, file("hangs"))
	c.signal(syscall.SIGKILL)
	awaitDeath(t, pid)
}

func TestWebhooks(t *testing.T) {
	t.Parallel() // it mostly waits
	redis := redistest.Start(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/echo":
			fmt.Fprintf(w, `{"args":%s,"uri":%q,"headers":%s}`, body, r.Header.Get("Juggler-URI"), r.Header.Get("Juggler-Headers"))
		case "/empty":
			w.WriteHeader(204)
		case "/refuse":
			w.WriteHeader(422)
			io.WriteString(w, `{"error":{"code":409,"message":"not a number","data":{"at":1}}}`)
		case "/framework":
			w.WriteHeader(404)
			io.WriteString(w, `{"statusCode":404,"message":"Cannot POST /secret","error":"Not Found"}`)
		case "/bare":
			w.WriteHeader(403)
		case "/fail":
			w.WriteHeader(502)
		case "/redirect":
			http.Redirect(w, r, "/echo", http.StatusFound)
		case "/long":
			io.WriteString(w, `"`+strings.Repeat("x", 2000)+`"`)
		case "/hang":
			<-r.Context().Done()
		}
	}))
	defer web.Close()
	hurried := startCallee(t, "--redis", "redis://"+redis.Addr, "--test=false", "--outside-timeout", "300ms", "--http", "h.hang="+web.URL+"/hang")
	args := []string{"--redis", "redis://" + redis.Addr, "--outside-max-output", "1KiB", "--http", "h.gone=http://" + freeport.Address(t) + "/"}
	for _, name := range []string{"echo", "empty", "refuse", "framework", "bare", "fail", "redirect", "long"} {
		args = append(args, "--http", "h."+name+"="+web.URL+"/"+name)
	}
	c := startCallee(t, args...)
	_, url := startServe(t, "--redis", "redis://"+redis.Addr)
	for _, tt := range []struct {
		uri  string
		code int
		want string
		log  string
	}{
		{"h.echo", 0, `{"args":[1],"uri":"h.echo","headers":{"k":"v"}}`, ""},
		{"h.empty", 0, `null`, ""},
		{"h.refuse", 5, `{"error":{"code":409,"message":"not a number","data":{"at":1}}}`, ""},
		{"h.framework", 5, `{"error":{"code":404,"message":"Not Found"}}`, ""},
		{"h.bare", 5, `{"error":{"code":403,"message":"Forbidden"}}`, ""},
		{"h.fail", 5, `"code":500`, "HTTP status 502"},
		{"h.redirect", 5, `"code":500`, "HTTP status 302"},
		{"h.long", 5, `"code":413,"message":"the answer has more than 1024 bytes"`, ""},
		{"h.hang", 5, `"code":500`, "it took too long"},
		{"h.gone", 5, `"code":500`, "connection refused"},
	} {
		got := run(t, "", "client", url, "--header", "k=v", "call", tt.uri, "[1]")
		if got.code != tt.code || !strings.Contains(got.stdout, tt.want) {
			t.Errorf("%s: %+v, want %d and %s", tt.uri, got, tt.code, tt.want)
		}
		if !json.Valid([]byte(got.stdout)) {
			t.Errorf("%s: not JSON: %s", tt.uri, got.stdout)
		}
		switch {
		case tt.uri == "h.hang":
			hurried.stderr.await(t, tt.log)
		case tt.log != "":
			c.stderr.await(t, tt.log)
		}
	}
}

func TestOutsideErrors(t *testing.T) {
	for _, tt := range []struct{ flag, value, want string }{
		{"--exec", "x=/nowhere/program", "no such file"},
		{"--exec", "x=no-such-program-anywhere", "executable file not found"},
		{"--exec", "x", "want URI=COMMAND"},
		{"--exec", "x=cat 'a", "a quote is not closed"},
		{"--exec", "test.echo=cat", "duplicate URI test.echo"},
		{"--http", "x", "want URI=URL"},
		{"--http", "x=ftp://a", "want http://… or https://…"},
		{"--test=false", "", "there is nothing to answer"},
	} {
		args := []string{"callee", "--redis", "127.0.0.1", "--check", tt.flag}
		if tt.value != "" {
			args = append(args, tt.value)
		}
		if got := run(t, "", args...); got.code != 2 || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s %s: %+v, want %q", tt.flag, tt.value, got, tt.want)
		}
	}
}
