package redis

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// What the comments of the options say about their defaults is true.
func TestDocumentedDefaults(t *testing.T) {
	source, err := os.ReadFile("options.go")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(source), "\n//", "")
	text = regexp.MustCompile(`(\d),(\d{3})\b`).ReplaceAllString(text, "$1$2")
	c := defaultConfig()
	for option, want := range map[string]string{
		"WithPrefix":          fmt.Sprintf("default %q.", c.prefix),
		"WithLanes":           fmt.Sprintf("default %d on a single server and %d in a cluster.", standaloneLanes, clusterLanes),
		"WithQueueCapacity":   fmt.Sprintf("default %d.", c.queueCapacity),
		"WithCalleeDiscovery": map[bool]string{true: "[broker.ErrNoCallee] (the default)"}[c.discovery],
		"WithCalleeGrace":     fmt.Sprintf("default %d s.", c.grace/time.Second),
		"WithCalleeLease":     fmt.Sprintf("default %d s.", c.lease/time.Second),
		"WithMaxBatch":        fmt.Sprintf("default %d.", c.maxBatch),
		"WithBackoff":         fmt.Sprintf("Defaults %d ms and %d s;", c.backoffMin/time.Millisecond, c.backoffMax/time.Second),
		"WithReplyTimeout":    fmt.Sprintf("default %d s.", c.replyTimeout/time.Second),
	} {
		_, comment, _ := strings.Cut(text, "\n "+option+" sets ")
		comment, _, _ = strings.Cut(comment, "\nfunc "+option+"(")
		if want == "" || !strings.Contains(comment, want) {
			t.Errorf("the comment of %s does not say %q", option, want)
		}
	}
}
