package conn

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A batch of which some commands are done is not taken for one that was not sent, which
// would be sent again: its publications would come twice.
func TestRerunThatIsNotSent(t *testing.T) {
	ours, theirs := net.Pipe()
	ours.Close()
	theirs.Close()
	l := &Link{conn: newStream(ours, time.Second), timeout: time.Second}
	done, unknown := resp.NewCommand("PUBLISH", "c", "1"), resp.NewScript("return 1").Command(nil)
	done.Reply = resp.Reply{Kind: ':', Value: 1}
	unknown.Reply = resp.Reply{Kind: '-', Text: []byte("NOSCRIPT No matching script.")}
	err := l.Rerun([]*resp.Command{done, unknown})
	if !errors.Is(err, ErrLost) || errors.Is(err, ErrNotSent) {
		t.Errorf("got %v, want ErrLost and not ErrNotSent", err)
	}
	if done.Reply.Kind != ':' || !errors.Is(unknown.Reply.Err(), resp.ErrNoReply) {
		t.Errorf("replies: %+v and %+v", done.Reply, unknown.Reply)
	}
}
