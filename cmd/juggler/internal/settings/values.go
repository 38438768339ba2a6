package settings

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// IntVar adds a flag for a number from least to most.
func IntVar(flags *pflag.FlagSet, p *int, name string, value, least, most int, usage string) {
	*p = value
	flags.Var(&number{p, least, most}, name, fmt.Sprintf("%s; %d to %d", usage, least, most))
}

type number struct {
	p           *int
	least, most int
}

func (n *number) String() string { return strconv.Itoa(*n.p) }
func (n *number) Type() string   { return "number" }

func (n *number) Set(text string) error {
	i, err := strconv.Atoi(text)
	if err != nil || i < n.least || i > n.most {
		return fmt.Errorf("want a number, %d to %d", n.least, n.most)
	}
	*n.p = i
	return nil
}

// FloatVar adds a flag for a number from least to most, which may have decimals.
func FloatVar(flags *pflag.FlagSet, p *float64, name string, value, least, most float64, usage string) {
	*p = value
	flags.Var(&float{p, least, most}, name, fmt.Sprintf("%s; %s to %s", usage, floatText(least), floatText(most)))
}

type float struct {
	p           *float64
	least, most float64
}

func (f *float) String() string { return floatText(*f.p) }
func (f *float) Type() string   { return "number" }

func (f *float) Set(text string) error {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || !(x >= f.least && x <= f.most) { // NaN is not either
		return fmt.Errorf("want a number, %s to %s", floatText(f.least), floatText(f.most))
	}
	*f.p = x
	return nil
}

func floatText(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// DurationVar adds a flag for a time from least to most.
func DurationVar(flags *pflag.FlagSet, p *time.Duration, name string, value, least, most time.Duration, usage string) {
	*p = value
	flags.Var(&duration{p, least, most}, name, fmt.Sprintf("%s; %s to %s", usage, timeText(least), timeText(most)))
}

type duration struct {
	p           *time.Duration
	least, most time.Duration
}

func (d *duration) String() string { return timeText(*d.p) }
func (d *duration) Type() string   { return "time" }

func (d *duration) Set(text string) error {
	t, err := time.ParseDuration(text)
	if err != nil || t < d.least || t > d.most {
		return fmt.Errorf("want a time such as 500ms, 10s or 5m; %s to %s", timeText(d.least), timeText(d.most))
	}
	*d.p = t
	return nil
}

// timeText is 10m where a Duration says 10m0s.
func timeText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// BytesVar adds a flag for a size from least to most bytes.
func BytesVar[T int | int64](flags *pflag.FlagSet, p *T, name string, value, least, most T, usage string) {
	*p = value
	flags.Var(&size[T]{p, least, most}, name, fmt.Sprintf("%s; %s to %s", usage, sizeText(least), sizeText(most)))
}

type size[T int | int64] struct {
	p           *T
	least, most T
}

var units = []struct {
	name string
	size int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func (s *size[T]) String() string { return sizeText(*s.p) }
func (s *size[T]) Type() string   { return "size" }

func (s *size[T]) Set(text string) error {
	n, err := ParseBytes(text, s.least, s.most)
	if err == nil {
		*s.p = n
	}
	return err
}

// ParseBytes reads a size from least to most bytes.
func ParseBytes[T int | int64](text string, least, most T) (T, error) {
	number, unit := text, int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > int64(most)/unit || n*unit < int64(least) {
		return 0, fmt.Errorf("want a size such as 65536, 64KiB or 1MiB; %s to %s", sizeText(least), sizeText(most))
	}
	return T(n * unit), nil
}

func sizeText[T int | int64](size T) string {
	n := int64(size)
	for _, u := range units {
		if n != 0 && n%u.size == 0 && u.size > 1 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// Choice is a flag for one of several words.
type Choice struct {
	Value   string
	Choices []string
}

// String implements pflag.Value.
func (c *Choice) String() string { return c.Value }

// Set implements pflag.Value.
func (c *Choice) Set(text string) error {
	for _, known := range c.Choices {
		if text == known {
			c.Value = text
			return nil
		}
	}
	return fmt.Errorf("want one of %s", strings.Join(c.Choices, ", "))
}

// Type implements pflag.Value.
func (c *Choice) Type() string { return strings.Join(c.Choices, "|") }
