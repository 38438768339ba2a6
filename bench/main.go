// Command bench measures juggler beside its peers: calls, echo of the bare
// WebSocket layer, fan-out, idle connections, handshakes. It needs Linux.
//
//	go run . -quick                        # the most important ones, under two minutes
//	go run .                               # all of them
//	go run . -only 'calls' -rounds 9       # some of them, more thoroughly
//	go run . -write ../docs/performance.md # put the tables into the document
//
// Each measurement starts two processes of this same program: a server under
// test and the load generator, whose CPU time is read apart. The servers of
// one scenario take turns, A B C A B C, so that what drifts on the machine
// drifts for all; juggler's ratio to each peer is computed within a round.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/juggler-go/juggler/bench/internal/control"
	"github.com/juggler-go/juggler/bench/internal/load"
	"github.com/juggler-go/juggler/bench/internal/peer"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		err = serve(os.Args[2])
	case len(os.Args) == 2 && os.Args[1] == "load":
		err = generate()
	default:
		err = drive()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// serve is the process under test: it prints its address and that of its
// control listener, and serves until it is killed or its stdin ends.
func serve(name string) error {
	addr, err := peer.Start(name)
	if err != nil {
		return err
	}
	controlAddr, err := control.Serve()
	if err != nil {
		return err
	}
	fmt.Println(addr, controlAddr)
	_, err = io.Copy(io.Discard, os.Stdin) // ends with the process that drives
	return err
}

// generate is the load generator's process: a Spec comes in, a Result goes out.
func generate() error {
	var s load.Spec
	if err := json.NewDecoder(os.Stdin).Decode(&s); err != nil {
		return err
	}
	r, err := load.Run(s)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// settings are what the flags say.
type settings struct {
	rounds         int
	warmup, window time.Duration
	profiles       string // directory
}

func drive() error {
	quick := flag.Bool("quick", false, "only the most important scenarios, with short rounds: under two minutes")
	only := flag.String("only", "", "run the scenarios whose name matches this regular expression")
	list := flag.Bool("list", false, "list the scenarios and end")
	write := flag.String("write", "", "put the tables between the markers of this Markdown file, as they come; with -only or -quick the others stay")
	var set settings
	flag.IntVar(&set.rounds, "rounds", 0, "rounds of each scenario with a target (default 5, quick 3); others have 3 at most")
	flag.DurationVar(&set.warmup, "warmup", 0, "time before each measurement (default 400ms, quick 200ms)")
	flag.DurationVar(&set.window, "window", 0, "time of each measurement (default 1.5s, quick 600ms)")
	flag.StringVar(&set.profiles, "profiles", "", "write CPU profiles of the servers into this directory")
	flag.Parse()
	set.fill(*quick)

	chosen, err := choose(*quick, *only)
	if err != nil {
		return err
	}
	if *list {
		for _, s := range chosen {
			fmt.Printf("%-24s %s\n", s.name, s.title)
		}
		return nil
	}

	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	report := newReport(set, !*quick && *only == "")
	began := time.Now()
	for i, s := range chosen {
		fmt.Fprintf(os.Stderr, "%d/%d %s (%s)\n", i+1, len(chosen), s.title, time.Since(began).Round(time.Second))
		outcome, err := s.run(set, interrupted)
		if err != nil {
			return err
		}
		if table := report.add(s, outcome); table != "" {
			fmt.Println(table)
		}
		if *write != "" { // as they come: nothing is lost if the run ends early
			if err := report.write(*write, i == len(chosen)-1); err != nil {
				return err
			}
		}
	}
	fmt.Println(report.growth())
	fmt.Println(report.verdicts())
	return nil
}

func (s *settings) fill(quick bool) {
	defaults := settings{rounds: 5, warmup: 400 * time.Millisecond, window: 1500 * time.Millisecond}
	if quick {
		defaults = settings{rounds: 3, warmup: 200 * time.Millisecond, window: 600 * time.Millisecond}
	}
	if s.rounds == 0 {
		s.rounds = defaults.rounds
	}
	if s.warmup == 0 {
		s.warmup = defaults.warmup
	}
	if s.window == 0 {
		s.window = defaults.window
	}
}

func choose(quick bool, only string) ([]scenario, error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return nil, err
	}
	var chosen []scenario
	for _, s := range scenarios {
		if !pattern.MatchString(s.name) || (quick && s.quick == 0) {
			continue
		}
		if quick {
			s = s.shortened()
		}
		chosen = append(chosen, s)
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no scenario matches %q", only)
	}
	return chosen, nil
}
