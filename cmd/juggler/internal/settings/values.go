package settings

import (
	"fmt"
	"strconv"
	"strings"
)

// Bytes is a flag for a size: a number of bytes, or of KiB, MiB, GiB.
type Bytes int

var units = []struct {
	name string
	size int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// String implements pflag.Value.
func (b *Bytes) String() string {
	for _, u := range units {
		if n := int(*b); n != 0 && n%u.size == 0 && u.size > 1 {
			return strconv.Itoa(n/u.size) + u.name
		}
	}
	return strconv.Itoa(int(*b))
}

// Set implements pflag.Value.
func (b *Bytes) Set(text string) error {
	number, size := text, 1
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			number, size = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > (1<<40)/int64(size) {
		return fmt.Errorf("want a size such as 65536, 64KiB or 1MiB")
	}
	*b = Bytes(n * int64(size))
	return nil
}

// Type implements pflag.Value: what help shows for the value.
func (b *Bytes) Type() string { return "size" }

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
