package ratelog

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiterSaysWhatItLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := slog.New(slog.NewTextHandler(&out, nil))
		var r Limiter
		for range 5 {
			r.Log(l, slog.LevelWarn, "broker unavailable", "uri", "a")
		}
		time.Sleep(Interval)
		r.Log(l, slog.LevelWarn, "broker unavailable", "uri", "b")
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "uri=a not_logged_before=0") || !strings.Contains(lines[1], "uri=b not_logged_before=4") {
			t.Errorf("logged:\n%s", out.String())
		}
	})
}
