package telemetry_test

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/telemetry"
)

// sums are counts that others of the same statistics tell apart.
var sums = []string{"Refused", "Results", "Nacks"}

// mark gives each number in a struct, and in the lists in it, a value of its own, and
// returns the values by field.
func mark(v reflect.Value, values map[float64]string, path string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			mark(v.Field(i), values, path+"."+v.Type().Field(i).Name)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		mark(v.Index(0), values, path)
	case reflect.Int, reflect.Int64:
		n := int64(len(values) + 1)
		if v.Type() == reflect.TypeFor[time.Duration]() {
			values[float64(n)] = path
			n *= int64(time.Second)
		} else if !slices.Contains([]string{"Code", "Status", "Type"}, path[strings.LastIndex(path, ".")+1:]) {
			values[float64(n)] = path
		}
		v.SetInt(n)
	case reflect.Uint64:
		n := uint64(len(values) + 1)
		values[float64(n)] = path
		v.SetUint(n)
	}
}

// Whatever the statistics count is a metric.
func TestTablesAreComplete(t *testing.T) {
	t.Run("handler", func(t *testing.T) { complete[juggler.Stats](t, telemetry.Handler) })
	t.Run("callee", func(t *testing.T) { complete[calleekit.Stats](t, telemetry.Callee) })
	t.Run("embedded", func(t *testing.T) { complete[memory.Stats](t, telemetry.Memory) })
	t.Run("redis", func(t *testing.T) { complete[telemetry.RedisState](t, telemetry.Redis) })
}

func complete[S any](t *testing.T, table []telemetry.Metric[S]) {
	var stats S
	missing := make(map[float64]string)
	mark(reflect.ValueOf(&stats).Elem(), missing, "")
	for _, m := range table {
		m.Each(&stats, func(value float64, labels ...string) {
			if len(labels) != len(m.Labels) {
				t.Errorf("%s: %d values of labels %v", m.Name, len(labels), m.Labels)
			}
			if m.Name != "juggler_redis_healthy" {
				delete(missing, value)
			}
		})
	}
	for _, field := range missing {
		if !slices.Contains(sums, strings.TrimPrefix(field, ".")) {
			t.Errorf("no metric says %s", field)
		}
	}
}

// The names keep to what Prometheus and OpenTelemetry ask for, and each is there once.
func TestNames(t *testing.T) {
	prometheus, otel := make(map[string]bool), make(map[string]bool)
	check := func(name, otelName, unit, help string, counter bool) {
		if !regexp.MustCompile(`^juggler(_[a-z]+)+$`).MatchString(name) {
			t.Errorf("%s is no name of a metric", name)
		}
		if counter != strings.HasSuffix(name, "_total") {
			t.Errorf("%s: only counters, and all of them, end with _total", name)
		}
		for suffix, of := range map[string]string{"_bytes": "By", "_seconds": "s"} {
			if (unit == of) != strings.HasSuffix(strings.TrimSuffix(name, "_total"), suffix) {
				t.Errorf("%s: the unit is %s", name, unit)
			}
		}
		if !regexp.MustCompile(`^(By|s|1|\{[a-z]+\})$`).MatchString(unit) || !strings.HasSuffix(help, ".") {
			t.Errorf("%s: unit %q, help %q", name, unit, help)
		}
		if prometheus[name] || otel[otelName] {
			t.Errorf("%s (%s) is there twice", name, otelName)
		}
		prometheus[name], otel[otelName] = true, true
	}
	table := func(name string, otelName func() string, unit, help string, kind telemetry.Kind) {
		check(name, otelName(), unit, help, kind == telemetry.Counter)
		again := strings.ReplaceAll(otelName(), ".", "_") + map[string]string{"By": "_bytes", "s": "_seconds"}[unit]
		if kind == telemetry.Counter {
			again += "_total"
		}
		if again != name && name != "juggler_calls_seconds_total" {
			t.Errorf("an exporter makes %s of %s, not %s", again, otelName(), name)
		}
	}
	for _, m := range telemetry.Handler {
		table(m.Name, m.OTelName, m.Unit, m.Help, m.Kind)
	}
	for _, m := range telemetry.Callee {
		table(m.Name, m.OTelName, m.Unit, m.Help, m.Kind)
	}
	for _, m := range telemetry.Memory {
		table(m.Name, m.OTelName, m.Unit, m.Help, m.Kind)
	}
	for _, m := range telemetry.Redis {
		table(m.Name, m.OTelName, m.Unit, m.Help, m.Kind)
	}
	for _, h := range []telemetry.Histogram{telemetry.CallDuration, telemetry.CallWait, telemetry.CallRun} {
		check(h.Name, h.OTelName, h.Unit, h.Help, false)
	}
	if otelName := telemetry.Handler[0].OTelName(); otelName != "juggler.sessions" {
		t.Errorf("the sessions are %s", otelName)
	}
}

// Only the first keys have a place of their own, however many ask at a time.
func TestBounded(t *testing.T) {
	b := telemetry.NewBounded(3, func(key int) *int { return &key }, new(int))
	var all sync.WaitGroup
	for key := range 100 {
		all.Go(func() {
			if got := b.Of(key + 1); *got != key+1 && *got != 0 {
				t.Errorf("%d has the place of %d", key+1, *got)
			}
		})
	}
	all.Wait()
	own := 0
	for key := range 100 {
		if got := b.Of(key + 1); *got != 0 {
			own++
			if got != b.Of(key+1) {
				t.Errorf("%d has two places", key+1)
			}
		}
	}
	if own != 3 {
		t.Errorf("%d keys have places of their own, want 3", own)
	}
	if none := telemetry.NewBounded(-1, func(int) int { return 1 }, 0); none.Of(1) != 0 {
		t.Error("a key has a place where there is room for none")
	}
}

func TestWait(t *testing.T) {
	for _, tt := range []struct {
		total, ran, want time.Duration
		known            bool
	}{
		{5, 3, 2, true},
		{5, 0, 5, false}, // nobody has said how long the function ran
		{3, 5, 0, true},  // by another clock
	} {
		wait, known := telemetry.Wait(&juggler.CallEnd{Total: tt.total, Ran: tt.ran})
		if known != tt.known || known && wait != tt.want {
			t.Errorf("%+v: %v, %v", tt, wait, known)
		}
	}
}
