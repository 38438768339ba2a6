package main

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler"
)

// Rules of outcomes are read as they stand, and refused with what is wrong.
func TestOutcomeRules(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	limits := bindLimits(flags)
	if err := flags.Parse([]string{"--outcomes", "order.*=24h, ai.a=b/c=1h/4MiB", "--outcomes=*=5m", "--key-scope=all", "--max-keys=7"}); err != nil {
		t.Fatal(err)
	}
	h, err := juggler.New(limits.List()...)
	if err != nil || len(limits.List()) != 3 {
		t.Fatalf("%d options, %v", len(limits.List()), err)
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	rules, err := outcomeRules([]string{"ai.a=b/c=1h/4MiB", "*=5m"})
	if want := (juggler.OutcomeRule{URIs: "ai.a=b/c", Keep: time.Hour, PartBytes: 4 << 20}); err != nil || rules[0] != want || rules[1].PartBytes != 0 {
		t.Errorf("%v, %v", rules, err)
	}
	rules, err = outcomeRules([]string{"order.*=24h/repeatable", "ai.*=1h/4MiB/repeatable"})
	if err != nil || !rules[0].Repeatable || rules[0].Keep != 24*time.Hour || !rules[1].Repeatable || rules[1].PartBytes != 4<<20 {
		t.Errorf("%+v, %v", rules, err)
	}
	for _, tt := range []struct{ rule, want string }{
		{"ai.*", `"ai.*": want URIS=TIME`},
		{"=1h", `"=1h": want URIS=TIME`},
		{"ai.*=1", `"ai.*=1": want URIS=TIME`},
		{"ai.*=1h/x", `"ai.*=1h/x": want a size such as 65536, 64KiB or 1MiB; 1KiB to 64MiB`},
		{"ai.*=1h/1B", "1KiB to 64MiB"},
	} {
		if _, err := outcomeRules([]string{tt.rule}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.rule, err, tt.want)
		}
	}
	flags = pflag.NewFlagSet("", pflag.ContinueOnError)
	limits = bindLimits(flags)
	if err := flags.Parse([]string{"--outcomes=a*=1ms"}); err != nil {
		t.Fatal(err)
	}
	if _, err := juggler.New(limits.List()...); err == nil || !strings.Contains(inFlags(err.Error()), `--outcomes("a*"): Keep is 1ms`) {
		t.Errorf("error %v", err)
	}
}
