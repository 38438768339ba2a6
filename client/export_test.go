package client

import "time"

// DefaultOf returns the defaults of the options that have a time or a number,
// by the name of the option.
func DefaultOf() (times map[string][]time.Duration, bytes, counts map[string]int) {
	c := defaultConfig()
	times = map[string][]time.Duration{
		"WithBackoff":          {c.minBackoff, c.maxBackoff},
		"WithHandshakeTimeout": {c.handshakeTimeout},
		"WithWriteTimeout":     {c.writeTimeout},
		"WithCloseTimeout":     {c.closeTimeout},
		"WithPingInterval":     {c.pingInterval},
		"WithCallTimeout":      {c.callTimeout},
		"WithStallTimeout":     {c.stallTimeout},
	}
	bytes = map[string]int{"WithWriteBuffer": c.writeBuffer, "WithMaxMessageBytes": c.maxMessage}
	counts = map[string]int{"WithEventBuffer": c.eventBuffer}
	return times, bytes, counts
}
