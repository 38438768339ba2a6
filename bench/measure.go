package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/juggler-go/juggler/bench/internal/load"
	"github.com/juggler-go/juggler/bench/internal/peer"
	"github.com/juggler-go/juggler/bench/internal/redisd"
)

// An outcome is what the rounds of a scenario measured: results[i][r] is what
// contender i did in round r.
type outcome struct{ results [][]load.Result }

// run runs the rounds of s.
func (s *scenario) run(set settings, interrupted <-chan os.Signal) (outcome, error) {
	results := make([][]load.Result, len(s.contenders))
	for round := range s.rounds(set) {
		for i, c := range s.contenders {
			select {
			case <-interrupted:
				return outcome{}, errors.New("interrupted")
			default:
			}
			spec := s.load
			spec.Protocol, spec.Warmup, spec.Window = c.protocol, set.warmup, set.window
			if set.profiles != "" && round == 0 {
				var err error
				if spec.Profile, err = profilePath(set.profiles, s.name, c.server); err != nil {
					return outcome{}, err
				}
			}
			r, err := measure(c, spec)
			if err != nil {
				return outcome{}, fmt.Errorf("%s: %w", c.name, err)
			}
			results[i] = append(results[i], r)
			fmt.Fprintf(os.Stderr, "  round %d  %-22s %s\n", round+1, c.name, s.progress(r))
		}
	}
	return outcome{results}, nil
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
	for _, name := range []string{c.callee, c.server} {
		if name == "" {
			continue
		}
		p, err := startServer(self, name, env)
		if err != nil {
			return r, err
		}
		stops = append(stops, p.stop)
		spec.Addr = p.addr
		spec.Controls = append([]string{p.control}, spec.Controls...)
	}
	return generateLoad(self, spec)
}

func generateLoad(self string, spec load.Spec) (r load.Result, err error) {
	input, err := json.Marshal(spec)
	if err != nil {
		return r, err
	}
	generator := exec.Command(self, "load")
	generator.Stdin = bytes.NewReader(input)
	generator.Stderr = os.Stderr
	generator.Env = append(os.Environ(), "GOGC=off", "GOMEMLIMIT=1GiB") // it hardly allocates
	output, err := generator.Output()
	if err != nil {
		return r, fmt.Errorf("load generator: %w", err)
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
