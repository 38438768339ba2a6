package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/juggler-go/juggler/bench/internal/load"
	"github.com/juggler-go/juggler/bench/internal/peer"
	"github.com/juggler-go/juggler/bench/internal/redisd"
)

// An outcome is what the rounds of a scenario measured: results[i][r] is what
// contender i did in round r; nothing if it failed.
type outcome struct {
	results  [][]load.Result
	failures []string // what went wrong, for the reader of the table
}

var errInterrupted = errors.New("interrupted")

// run runs the rounds of s. A measurement that fails is repeated once; a
// contender that fails again takes no further part, and the others go on. The
// only error is errInterrupted.
func (s *scenario) run(set settings, interrupted <-chan os.Signal) (outcome, error) {
	o := outcome{results: make([][]load.Result, len(s.contenders))}
	out := make([]bool, len(s.contenders))
	for round := range s.rounds(set) {
		for i, c := range s.contenders {
			if out[i] {
				continue
			}
			r, err := s.measure(c, set, round)
			if err != nil {
				fmt.Fprintf(os.Stderr, "  round %d  %-22s FAILED: %v\n", round+1, c.name, err)
				o.failed("%s failed in round %d and was measured again: %v", c.name, round+1, err)
				r, err = s.measure(c, set, round)
			}
			select {
			case <-interrupted:
				return o, errInterrupted
			default:
			}
			if err != nil {
				fmt.Fprintf(os.Stderr, "  round %d  %-22s FAILED again: %v\n", round+1, c.name, err)
				o.failed("%s failed again and took no further part: %v", c.name, err)
				out[i], o.results[i] = true, nil
				continue
			}
			o.results[i] = append(o.results[i], r)
			fmt.Fprintf(os.Stderr, "  round %d  %-22s %s\n", round+1, c.name, s.progress(r))
		}
	}
	return o, nil
}

func (o *outcome) failed(format string, args ...any) {
	o.failures = append(o.failures, strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")) // a line
}

// measure measures one contender once.
func (s *scenario) measure(c contender, set settings, round int) (r load.Result, err error) {
	spec := s.spec(c)
	spec.Warmup, spec.Window = set.warmup, max(set.window, s.window)
	if set.profiles != "" && round == 0 {
		if spec.Profile, err = profilePath(set.profiles, s.name, c.server); err != nil {
			return r, err
		}
	}
	return measure(c, spec)
}

// spec returns the load of c.
func (s *scenario) spec(c contender) load.Spec {
	spec := s.load
	spec.Protocol, spec.Kept, spec.Parts, spec.Deflate = c.protocol, c.kept, c.parts, c.deflate
	if c.conns > 0 {
		spec.Conns = c.conns
	}
	return spec
}

func profilePath(dir, scenario, server string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return filepath.Join(dir, scenario+"."+server+".pprof"), nil
}

// measure starts what c consists of and the load generator, and returns the
// generator's result.
func measure(c contender, spec load.Spec) (r load.Result, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	var stops []func() error
	defer func() {
		for _, stop := range slices.Backward(stops) {
			err = errors.Join(err, stop())
		}
	}()
	env := os.Environ()
	if c.redis {
		server, err := redisd.Start()
		if err != nil {
			return r, err
		}
		stops = append(stops, server.Stop)
		spec.Redis = server.Addr
		env = append(env, peer.RedisVariable+"="+server.Addr)
	}
	names := []string{c.callee, c.server}
	if c.redis && spec.Missed > 0 { // what is missed is published on another node
		names = append(names, c.server)
	}
	for _, name := range names {
		if name == "" {
			continue
		}
		p, err := startServer(self, name, env)
		if err != nil {
			return r, err
		}
		stops = append(stops, p.stop)
		spec.Addr, spec.Other = p.addr, spec.Addr
		spec.Controls = append([]string{p.control}, spec.Controls...)
	}
	return generateLoad(self, spec)
}

func generateLoad(self string, spec load.Spec) (r load.Result, err error) {
	input, err := json.Marshal(spec)
	if err != nil {
		return r, err
	}
	// A generator that hangs must not hold the others up.
	ctx, cancel := context.WithTimeout(context.Background(), spec.Warmup+spec.Window+time.Minute)
	defer cancel()
	generator := exec.CommandContext(ctx, self, "load")
	generator.Stdin = bytes.NewReader(input)
	generator.Stderr = os.Stderr
	generator.Env = append(os.Environ(), "GOGC=off", "GOMEMLIMIT=1GiB") // it hardly allocates
	output, err := generator.Output()
	if err != nil {
		return r, fmt.Errorf("load generator: %w", errors.Join(err, ctx.Err()))
	}
	return r, json.Unmarshal(output, &r)
}

// A process is a server under test.
type process struct {
	cmd           *exec.Cmd
	stdin         io.Closer
	addr, control string
}

func startServer(self, name string, env []string) (*process, error) {
	cmd := exec.Command(self, "serve", name)
	cmd.Env = env
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, stdin: stdin}
	hangs := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer hangs.Stop()
	if _, err := fmt.Fscanln(stdout, &p.addr, &p.control); err != nil {
		return nil, errors.Join(fmt.Errorf("the server %s does not start: %w", name, err), p.stop())
	}
	return p, nil
}

// stop ends the server by ending its stdin, or kills it if that takes long.
func (p *process) stop() error {
	timer := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	_ = p.stdin.Close()
	return p.cmd.Wait()
}
