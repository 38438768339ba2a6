package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/cmd/juggler/internal/engine"
	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
	"github.com/juggler-go/juggler/frame"
)

// clusterHelp is what the commands that act on all nodes have in common.
const clusterHelp = `It asks the servers by Redis, so give it their --redis, --redis-pubsub and
--redis-prefix; a server with --cluster=false takes no part. It waits for each
server that is there, and ends with 1 and names those that have not answered
until their leases were over, as they hang or were killed.

` + engine.AddressHelp

// A clusterCommand asks all nodes.
type clusterCommand struct {
	engine  engine.Flags
	timeout time.Duration
	asJSON  bool
}

// bind adds flags.
func (c *clusterCommand) bind(flags *pflag.FlagSet) {
	settings.DurationVar(flags, &c.timeout, "timeout", time.Minute, time.Millisecond, time.Hour, "time to wait at most, whatever the leases of servers are")
	flags.BoolVar(&c.asJSON, "json", false, "write the result as JSON")
	c.engine.Bind(flags)
	c.engine.BindEvents(flags)
}

// run has f ask.
func (c *clusterCommand) run(cmd *cobra.Command, check func() error, f func(context.Context, *juggler.Cluster) error) error {
	if err := configure(cmd); err != nil {
		return err
	}
	err := check()
	if err == nil && len(c.engine.RPC) == 0 {
		err = errors.New("--redis is missing")
	}
	if err != nil && !onlyCheck(cmd) {
		return usageError(cmd, err)
	}
	e, err := c.engine.Open(slog.New(slog.DiscardHandler)) // what matters is in the errors
	if err != nil {
		return err
	}
	defer e.Close()
	if onlyCheck(cmd) {
		return nil
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
	defer cancel()
	if err := e.Await(ctx, 0); err != nil {
		return err
	}
	cluster, err := juggler.NewCluster(e.PubSub)
	if err != nil {
		return err
	}
	defer cluster.Close()
	return f(ctx, cluster)
}

// report writes what became of something at all nodes, and returns the error that it ends
// with.
func (c *clusterCommand) report(out io.Writer, what string, r juggler.ClusterReport, err error) error {
	if err != nil && !errors.Is(err, juggler.ErrIncomplete) {
		return exit.With(exit.Unreachable, err)
	}
	if c.asJSON {
		return errors.Join(json.NewEncoder(out).Encode(reportJSON(r)), err)
	}
	fmt.Fprintf(out, "%s: %s on %s\n", what, count(r.Sessions(), "session"), count(len(r.Nodes), "server"))
	if err == nil && len(r.Nodes) == 0 {
		err = errors.New("no server is there: is it the right Redis, and --redis-prefix?")
	}
	return err
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// reportJSON is a report for scripts.
func reportJSON(r juggler.ClusterReport) any {
	nodes, missing := []any{}, []any{}
	for _, n := range r.Nodes {
		node := map[string]any{"node": n.Node, "sessions": n.Sessions}
		if n.Error != "" {
			node["error"] = n.Error
		}
		nodes = append(nodes, node)
	}
	for _, n := range r.Missing {
		missing = append(missing, nodeJSON(n))
	}
	return map[string]any{"sessions": r.Sessions(), "nodes": nodes, "missing": missing}
}

func nodeJSON(n juggler.NodeInfo) any {
	return map[string]any{
		"node": n.Node, "host": n.Host, "pid": n.PID, "version": n.Version, "started": n.Started.UTC().Format(time.RFC3339),
		"sessions": n.Sessions, "users": n.Users, "draining": n.Draining,
		"age_ms": n.Age.Milliseconds(), "left_ms": n.Left.Milliseconds(),
	}
}

// newClusterCommand returns a command that asks all nodes. bind adds flags of its own, check
// says what is wrong with them.
func newClusterCommand(use, short, long, example string, bind func(*pflag.FlagSet), check func() error,
	f func(context.Context, *juggler.Cluster, *clusterCommand, io.Writer) error) *cobra.Command {
	c := new(clusterCommand)
	cmd := &cobra.Command{Use: use, Short: short, Long: long + "\n" + clusterHelp, Example: example, Args: exactArgs(0, "")}
	bind(cmd.Flags())
	c.bind(cmd.Flags())
	configurable(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.run(cmd, check, func(ctx context.Context, cluster *juggler.Cluster) error {
			return f(ctx, cluster, c, cmd.OutOrStdout())
		})
	}
	return cmd
}

func newNodes() *cobra.Command {
	return newClusterCommand("nodes", "List the servers on one Redis",
		`nodes lists the servers that work together, with how many sessions each has, as
it said at its last sign of life, SEEN ago. One that was killed is listed until
its lease is over.
`, `  juggler nodes --redis redis://127.0.0.1:6379`,
		func(*pflag.FlagSet) {}, func() error { return nil },
		func(ctx context.Context, cluster *juggler.Cluster, c *clusterCommand, out io.Writer) error {
			nodes, err := cluster.Nodes(ctx)
			if err != nil {
				return exit.With(exit.Unreachable, err)
			}
			if c.asJSON {
				list := []any{}
				for _, n := range nodes {
					list = append(list, nodeJSON(n))
				}
				return json.NewEncoder(out).Encode(list)
			}
			return writeNodes(out, nodes)
		})
}

func writeNodes(out io.Writer, nodes []juggler.NodeInfo) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tHOST\tPID\tVERSION\tUP\tSESSIONS\tUSERS\tSEEN\tSTATE")
	for _, n := range nodes {
		state := "serving"
		if n.Draining {
			state = "draining"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%v\t%d\t%d\t%v\t%s\n", n.Node, n.Host, n.PID, n.Version,
			time.Since(n.Started).Round(time.Second), n.Sessions, n.Users, n.Age.Round(100*time.Millisecond), state)
	}
	return w.Flush()
}

func newDisconnect() *cobra.Command {
	var user, session, reason string
	var code int
	return newClusterCommand("disconnect", "End the sessions of a user on all servers",
		`disconnect closes the sessions of a user, or one session by its id, wherever they
are. Clients come back after code 1012 and are authenticated anew; after 4400 they
do with another token, after 4403 they do not. To log a user out, revoke first.
`, `  juggler disconnect --redis redis://127.0.0.1:6379 --user ann --code 4403 --reason "account closed"`,
		func(flags *pflag.FlagSet) {
			flags.StringVar(&user, "user", "", "whose sessions")
			flags.StringVar(&session, "session", "", "`id` of a session, in place of a user")
			settings.IntVar(flags, &code, "code", frame.CloseRestart, 1000, 4999, "close code")
			flags.StringVar(&reason, "reason", "disconnected by the operator", "what the client is told, at most 123 bytes")
		},
		func() error {
			switch {
			case (user == "") == (session == ""):
				return errors.New("want --user or --session")
			case len(reason) > 123:
				return errors.New("--reason: want at most 123 bytes")
			}
			return nil
		},
		func(ctx context.Context, cluster *juggler.Cluster, c *clusterCommand, out io.Writer) error {
			var r juggler.ClusterReport
			var err error
			if user != "" {
				r, err = cluster.DisconnectUser(ctx, user, uint16(code), reason)
			} else {
				r, err = cluster.DisconnectSession(ctx, session, uint16(code), reason)
			}
			return c.report(out, "disconnected", r, err)
		})
}

func newRevoke() *cobra.Command {
	var user, before string
	var life time.Duration
	var at time.Time
	return newClusterCommand("revoke", "Refuse the tokens of a user that were issued before a time",
		`revoke has all servers refuse tokens of a user by when they were issued (their
iat), end the sessions that are there with them, and remember that. A server that
is missing now does so before it lets such a user in again. A token without iat
is refused as long as anything of its user is revoked.
`, `  juggler revoke --redis redis://127.0.0.1:6379 --user ann --for 24h
  juggler revoke --redis redis://127.0.0.1:6379 --user ann --before 2026-11-30T07:00:00Z --for 24h`,
		func(flags *pflag.FlagSet) {
			flags.StringVar(&user, "user", "", "whose tokens")
			flags.StringVar(&before, "before", "now", "`time` until which they were issued, by the clock of the issuer, as 2006-01-02T15:04:05Z; that instant is refused")
			settings.DurationVar(flags, &life, "for", 24*time.Hour, time.Second, 10*365*24*time.Hour, "how long to remember it: the longest that tokens are valid for")
		},
		func() (err error) {
			if user == "" {
				return errors.New("--user is missing")
			}
			if at = time.Now(); before != "now" {
				if at, err = time.Parse(time.RFC3339, before); err != nil {
					return fmt.Errorf("--before %q: want now, or a time as 2006-01-02T15:04:05Z", before)
				}
			}
			return nil
		},
		func(ctx context.Context, cluster *juggler.Cluster, c *clusterCommand, out io.Writer) error {
			r, err := cluster.Revoke(ctx, user, at, life)
			return c.report(out, "revoked, and ended", r, err)
		})
}

func newUnsubscribe() *cobra.Command {
	var user, reason string
	var topic broker.Topic
	var code int
	return newClusterCommand("unsubscribe", "End a subscription of a user on all servers",
		`unsubscribe ends a subscription of all sessions of a user, who are told why. They
may subscribe again unless the rules forbid it.
`, `  juggler unsubscribe --redis redis://127.0.0.1:6379 --user ann --channel room.7`,
		func(flags *pflag.FlagSet) {
			flags.StringVar(&user, "user", "", "whose subscription")
			flags.StringVar(&topic.Name, "channel", "", "to which channel")
			flags.BoolVar(&topic.Pattern, "pattern", false, "--channel is a pattern, as it was subscribed to")
			settings.IntVar(flags, &code, "code", int(juggler.CodeForbidden), 400, 599, "code that the client is told; clients subscribe again after 503")
			flags.StringVar(&reason, "reason", "the subscription was taken away", "what the client is told")
		},
		func() error {
			switch {
			case user == "":
				return errors.New("--user is missing")
			case topic.Name == "":
				return errors.New("--channel is missing")
			}
			return nil
		},
		func(ctx context.Context, cluster *juggler.Cluster, c *clusterCommand, out io.Writer) error {
			r, err := cluster.UnsubscribeUser(ctx, user, topic, &juggler.Error{Code: frame.Code(code), Message: reason})
			return c.report(out, "unsubscribed", r, err)
		})
}
