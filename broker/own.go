package broker

import "strings"

// OwnChannel returns the name of a channel of the server's own. Such channels are another
// namespace: their names begin with a zero byte, which the names of clients' channels do
// not, and no pattern matches them, whatever it is. Nor does a [HistoryRule], unless its
// Channels begin with the zero byte, too.
func OwnChannel(name string) string { return ownMark + name }

// IsOwn reports whether channel, or how names of channels begin, is of the server's own, and
// returns what OwnChannel made it of.
func IsOwn(channel string) (name string, own bool) { return strings.CutPrefix(channel, ownMark) }

const ownMark = "\x00"
