// Command guard measures what the hot paths cost in figures that do not depend
// on how busy the machine is (instructions, allocations, system calls, bytes,
// Redis commands) and compares them with those kept in guards.json.
//
//	go run ./guard         # compares; fails if something costs more
//	go run ./guard -update # records what is measured now
//
// It runs in the directory of guards.json, and needs Linux and redis-server.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
)

const keptFile = "guards.json"

func main() {
	var err error
	if len(os.Args) == 2 && os.Args[1] == steppedCommand {
		err = stepped()
	} else {
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "guard:", err)
		os.Exit(1)
	}
}

func run() error {
	update := flag.Bool("update", false, "record what is measured now in "+keptFile)
	flag.Parse()
	was, err := readKept(keptFile)
	if err != nil && !(*update && errors.Is(err, os.ErrNotExist)) {
		return err
	}
	now := kept{Go: runtime.Version(), Arch: runtime.GOARCH}
	if now.Guards, err = measureAll(); err != nil {
		return err
	}
	if !*update && was.Arch != now.Arch {
		now.forgetInstructions() // those of another architecture say nothing
	}
	rows := compare(was, now)
	printTable(os.Stdout, rows)
	if *update {
		return now.write(keptFile)
	}
	return judge(os.Stdout, was, now, rows)
}

// measureAll measures everything that is guarded, in the order of the table.
func measureAll() ([]guarded, error) {
	all, err := countInstructions()
	if err != nil {
		return nil, err
	}
	for _, measure := range []func() ([]guarded, error){connections, clients, idleSessions, redisCalls} {
		more, err := measure()
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}
