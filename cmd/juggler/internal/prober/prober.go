package prober

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Config says what is played, and with whom.
type Config struct {
	Command  []string // the program and its arguments; the URL of the server follows them
	Cases    []Case
	Patience time.Duration // what the client has for each step
	Parallel int           // cases at a time
	Verbose  bool          // shows the sessions of all cases, and not only of those that failed
}

// A Report counts the cases.
type Report struct{ Passed, Failed, Left int }

// result is what became of one case.
type result struct {
	left   string
	fault  *fault
	stderr string
	log    transcript
}

// Run plays cases and writes what became of each. Its error is that of the output, or of ctx.
func Run(ctx context.Context, config Config, out io.Writer) (r Report, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	slots := make(chan struct{}, config.Parallel)
	results := make([]chan *result, len(config.Cases))
	for i := range results {
		results[i] = make(chan *result, 1)
	}
	go func() { // ends with the last case, which is waited for below
		for i := range config.Cases {
			slots <- struct{}{}
			go func() {
				defer func() { <-slots }()
				var r result
				if ctx.Err() == nil {
					r.play(ctx, &config.Cases[i], config.Command, config.Patience)
				}
				results[i] <- &r
			}()
		}
	}()
	level := ""
	for i := range config.Cases {
		c, got := &config.Cases[i], <-results[i]
		if err != nil || ctx.Err() != nil {
			continue // until all have ended
		}
		if c.Level != level {
			level = c.Level
			fmt.Fprintln(out, level)
		}
		if err = got.write(out, c, config.Verbose); err != nil {
			cancel()
		}
		r.count(got)
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	return r, err
}

func (r *Report) count(got *result) {
	switch {
	case got.fault != nil:
		r.Failed++
	case got.left != "":
		r.Left++
	default:
		r.Passed++
	}
}

// write writes what became of a case: a line, and of one that failed what a person needs.
func (r *result) write(out io.Writer, c *Case, verbose bool) error {
	var text strings.Builder
	switch {
	case r.fault != nil:
		fmt.Fprintf(&text, "  FAILED  %s: %s\n", c.Name, c.What)
		r.explain(&text, c)
	case r.left != "":
		fmt.Fprintf(&text, "  left    %s: %s\n", c.Name, r.left)
	default:
		fmt.Fprintf(&text, "  ok      %s\n", c.Name)
	}
	if verbose || r.fault != nil {
		for _, line := range r.log {
			fmt.Fprintf(&text, "            %s\n", line)
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func (r *result) explain(text *strings.Builder, c *Case) {
	fmt.Fprintf(text, "          %s\n", r.fault.what)
	rule := r.fault.rule
	if rule == "" {
		rule = c.Rule
	}
	if !slices.Contains([]string{ownRule, rfc}, rule) {
		rule = fmt.Sprintf("docs/protocol.md, “%s”", rule)
	}
	fmt.Fprintf(text, "          see %s\n", rule)
	for line := range strings.Lines(r.stderr) {
		fmt.Fprintf(text, "            stderr  %s\n", strings.TrimRight(line, "\n"))
	}
}
