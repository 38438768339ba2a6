package memory_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker/memory"
)

func TestOptionBounds(t *testing.T) {
	for _, o := range []struct {
		name    string
		valid   []memory.Option
		invalid map[string]memory.Option
	}{
		{
			"WithQueueCapacity",
			[]memory.Option{memory.WithQueueCapacity(1), memory.WithQueueCapacity(1024), memory.WithQueueCapacity(1 << 24)},
			map[string]memory.Option{"0": memory.WithQueueCapacity(0), "16777217": memory.WithQueueCapacity(1<<24 + 1)},
		},
		{
			"WithQueueBytes",
			[]memory.Option{memory.WithQueueBytes(64 << 10), memory.WithQueueBytes(256 << 20), memory.WithQueueBytes(1 << 40)},
			map[string]memory.Option{"65535": memory.WithQueueBytes(64<<10 - 1), "1099511627777": memory.WithQueueBytes(1<<40 + 1)},
		},
		{
			"WithCalleeGrace",
			[]memory.Option{memory.WithCalleeGrace(0), memory.WithCalleeGrace(5 * time.Second), memory.WithCalleeGrace(time.Hour)},
			map[string]memory.Option{"-1ns": memory.WithCalleeGrace(-1), "1h0m0.000000001s": memory.WithCalleeGrace(time.Hour + 1)},
		},
		{
			"WithoutCalleeDiscovery",
			[]memory.Option{memory.WithoutCalleeDiscovery()},
			nil,
		},
	} {
		for i, valid := range o.valid {
			b, err := memory.New(valid)
			if err != nil {
				t.Errorf("%s, value %d: %v", o.name, i, err)
				continue
			}
			b.Close()
		}
		for value, invalid := range o.invalid {
			_, err := memory.New(invalid)
			if !errors.Is(err, memory.ErrInvalidOption) || !strings.Contains(err.Error(), fmt.Sprintf("%s(%s)", o.name, value)) {
				t.Errorf("%s(%s): the error is %v", o.name, value, err)
			}
		}
	}
}

func TestNilOption(t *testing.T) {
	if _, err := memory.New(nil); !errors.Is(err, memory.ErrInvalidOption) {
		t.Errorf("got %v", err)
	}
}

// All that is wrong is said at once.
func TestOptionErrorsAreJoined(t *testing.T) {
	_, err := memory.New(memory.WithQueueCapacity(-1), memory.WithCalleeGrace(-time.Second))
	if err == nil || !strings.Contains(err.Error(), "WithQueueCapacity(-1)") || !strings.Contains(err.Error(), "WithCalleeGrace(-1s)") {
		t.Errorf("the error is %v", err)
	}
}

// What the comments of the options say about their defaults is true.
func TestDocumentedDefaults(t *testing.T) {
	source, err := os.ReadFile("options.go")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(strings.ReplaceAll(string(source), "//", "")), " ")
	capacity, bytes, grace := memory.Defaults()
	for _, want := range []string{
		fmt.Sprintf("1 to 1<<24, %d by default", capacity),
		fmt.Sprintf("64 KiB to 1 TiB, %d MiB by default", bytes>>20),
		fmt.Sprintf("0 to 1 hour, %d seconds by default", grace/time.Second),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("options.go does not say %q", want)
		}
	}
}
