package ratelog

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// logged runs f in simulated time and returns the lines that it logged.
func logged(t *testing.T, f func(l *slog.Logger, limit *Limit)) (lines []string) {
	synctest.Test(t, func(*testing.T) {
		var out bytes.Buffer
		f(New(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		synctest.Wait()
		lines = strings.Split(strings.TrimSpace(out.String()), "\n")
	})
	return lines
}

func TestALineSaysWhatWasLeftOut(t *testing.T) {
	lines := logged(t, func(l *slog.Logger, _ *Limit) {
		for i := range Burst + 4 {
			l.With("component", "c").Warn("broker unavailable", "n", i)
			l.Debug("broker unavailable", "n", i)
		}
		l.Info("broker unavailable")
		time.Sleep(Pause)
		l.Warn("broker unavailable", "n", "later")
	})
	var warned []string
	for _, line := range lines {
		if strings.Contains(line, "level=WARN") {
			warned = append(warned, line)
		}
	}
	// The count is in a line of its own, or in the next one, which comes at the same time.
	first, rest := strings.Join(warned[:Burst], "\n"), strings.Join(warned[Burst:], "\n")
	if strings.Contains(first, "not_logged") || !strings.Contains(rest, "not_logged_before=") || !strings.Contains(rest, "n=later") {
		t.Errorf("logged:\n%s", strings.Join(lines, "\n"))
	}
}

// The count comes even if no other line does, at the latest when the component closes.
func TestNoCountIsLost(t *testing.T) {
	for name, end := range map[string]func(*Limit){
		"later":    func(*Limit) { time.Sleep(Pause) },
		"at close": func(l *Limit) { l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			lines := logged(t, func(l *slog.Logger, limit *Limit) {
				for i := range Burst + 4 {
					l.Warn("broker unavailable", "n", i)
				}
				end(limit)
			})
			if want := fmt.Sprintf("n=%d not_logged_before=3", Burst+3); len(lines) != Burst+1 || !strings.Contains(lines[Burst], want) {
				t.Errorf("logged:\n%s\nwant %s at the end", strings.Join(lines, "\n"), want)
			}
		})
	}
}

func TestAFloodIsAFewLinesAMinute(t *testing.T) {
	lines := logged(t, func(l *slog.Logger, _ *Limit) {
		for range 60_000 {
			l.Info("session ended")
			time.Sleep(time.Millisecond)
		}
		time.Sleep(Pause)
	})
	if len(lines) < 10 || len(lines) > 30 {
		t.Errorf("%d lines in a minute", len(lines))
	}
}
