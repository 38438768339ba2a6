package main_test

import (
	"strings"
	"testing"
)

// Load on a server that compresses takes fewer bytes, loses nothing, and says when the
// server does not.
func TestLoadCompressed(t *testing.T) {
	t.Parallel() // it mostly waits
	_, url := startServe(t, "--open", "--compression", "--compression-level", "1", "--compression-exempt", "plain.*")
	_, plain := startServe(t, "--open")
	perEvent := func(args ...string) (sent, received float64) {
		t.Helper()
		got := run(t, "", append([]string{"load", "--clients", "4", "--publish", "100", "--rate", "200", "--payload", "4096", "--duration", "500ms", "--json"}, args...)...)
		r := parseReport(t, got)
		if got.code != 0 || r.Pubs == 0 || r.Events != 4*r.Pubs || r.LostConnections != 0 {
			t.Fatalf("%v: code %d, %s%s", args, got.code, got.stdout, got.stderr)
		}
		return float64(r.BytesSent) / float64(r.Pubs), float64(r.BytesReceived) / float64(r.Events)
	}
	sent, received := perEvent(url)
	less, fewer := perEvent("--compression", url)
	if sent < 4096 || received < 4096 {
		t.Errorf("%.0f bytes were sent and %.0f received for 4096", sent, received)
	}
	if less > sent/2 || fewer > received/2 {
		t.Errorf("%.0f bytes were sent and %.0f received compressed, %.0f and %.0f without", less, fewer, sent, received)
	}
	if got := run(t, "", "load", "--compression", plain); got.code != 3 || !strings.Contains(got.stderr, "the server does not compress") {
		t.Errorf("a server without compression: %+v", got)
	}
}

func TestCompressionSettings(t *testing.T) {
	for args, want := range map[string]string{
		"--compression-level 2":                            "--compression-level goes with --compression only",
		"--compression --compression-level 7":              "want a number, 1 to 6",
		"--compression --compression-threshold 1B":         "want a size",
		"--compression --compression-exempt a*b":           "a name, or how names begin and then a star",
		"--compression --compression-exempt account.*,pin": "",
	} {
		got := run(t, "", append([]string{"serve", "--check"}, strings.Fields(args)...)...)
		if want == "" && got.code != 0 || want != "" && (got.code != 2 || !strings.Contains(got.stderr, want)) {
			t.Errorf("%s: %+v, want %q", args, got, want)
		}
	}
}
