package conn

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// newLink connects to a server, unless ctx ends first. It does not log in: login does, or
// the first use of the client. The link owns o.
func newLink(ctx context.Context, o *goredis.Options, timeout time.Duration) (*Link, error) {
	l := &Link{timeout: timeout}
	dial := o.Dialer
	if o.DialTimeout <= 0 || o.DialTimeout > timeout {
		o.DialTimeout = timeout
	}
	if dial == nil {
		dial = goredis.NewDialer(o)
	}
	var used atomic.Bool
	o.Dialer = func(context.Context, string, string) (net.Conn, error) {
		if used.Swap(true) {
			return nil, errLinkUsed
		}
		return l.conn, nil
	}
	l.client = goredis.NewClient(loginOptions(o, timeout))
	// Not by the client, which would go on trying in the background. A dialer of
	// the user's knows of the timeout only by its context.
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	conn, err := dial(ctx, l.client.Options().Network, l.client.Options().Addr)
	if err != nil {
		l.client.Close() //nolint:errcheck // it has no connection
		return nil, err
	}
	l.conn = newStream(conn, timeout)
	return l, nil
}

// loginOptions are those of o that say where the server is and who we are. The others are
// for clients with many connections that come and go: of pools, retries and caches.
func loginOptions(o *goredis.Options, timeout time.Duration) *goredis.Options {
	return &goredis.Options{
		Network:                      o.Network,
		Addr:                         o.Addr,
		Dialer:                       o.Dialer,
		TLSConfig:                    o.TLSConfig,
		DialTimeout:                  o.DialTimeout,
		ClientName:                   o.ClientName,
		OnConnect:                    o.OnConnect,
		Username:                     o.Username,
		Password:                     o.Password,
		CredentialsProvider:          o.CredentialsProvider,
		CredentialsProviderContext:   o.CredentialsProviderContext,
		StreamingCredentialsProvider: o.StreamingCredentialsProvider,
		DB:                           o.DB,
		ReadBufferSize:               o.ReadBufferSize,
		WriteBufferSize:              o.WriteBufferSize,

		Protocol:                 2, // the only pushes that we want are those of SUBSCRIBE
		ReadTimeout:              timeout,
		WriteTimeout:             timeout,
		MaxRetries:               -1,
		DialerRetries:            1,
		PoolSize:                 1,
		PipelinePoolSize:         -1,
		DisableIdentity:          true, // CLIENT SETINFO would need an ACL rule more
		MaintNotificationsConfig: noNotifications(),
	}
}

// errLinkUsed is what go-redis gets when it wants a second connection.
var errLinkUsed = errors.New("connection lost")

// noNotifications keeps go-redis from looking up the names of servers to find out what
// kind of address they have.
func noNotifications() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// login has the client log in, and takes the connection over from it. It returns the
// server's identity, if this user may ask for it. We cut the connection when ctx ends,
// because go-redis does not heed the context while it waits.
func (l *Link) login(ctx context.Context) (identity, error) {
	stop := context.AfterFunc(ctx, l.Cut)
	info, err := l.client.Info(background, "server").Result()
	if !stop() {
		return "", ctx.Err()
	}
	if err != nil && !isRefusedInfo(err) {
		return "", err
	}
	l.in = bufio.NewReaderSize((*replyReader)(l), readBuffer)
	_, after, _ := strings.Cut(info, "run_id:")
	who, _, _ := strings.Cut(after, "\r\n")
	return identity(who), nil
}

// isRefusedInfo reports whether err is only about INFO: the server does not know
// the command or the section, or this user may not ask.
func isRefusedInfo(err error) bool {
	text := strings.ToLower(err.Error())
	return resp.IsServerError(err) && (strings.Contains(text, "info") || strings.Contains(text, "section"))
}

// loginOnce has connections log in with the credentials of the moment. We cannot let
// go-redis renew them, because it would send commands in between ours. Where the server
// closes a connection when its credentials expire, a new one is made.
func loginOnce(o *goredis.Options) {
	provider := o.StreamingCredentialsProvider
	if provider == nil {
		return
	}
	o.StreamingCredentialsProvider = nil
	o.CredentialsProviderContext = func(context.Context) (name, password string, err error) {
		current, unsubscribe, err := provider.Subscribe(new(ignoreRenewals))
		if err != nil {
			return "", "", err
		}
		name, password = current.BasicAuth()
		return name, password, unsubscribe()
	}
}

// ignoreRenewals is a listener for new credentials that wants none. It is not empty, so
// that each has another address.
type ignoreRenewals struct{ _ byte }

func (*ignoreRenewals) OnNext(auth.Credentials) {}
func (*ignoreRenewals) OnError(error)           {}
