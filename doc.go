// Package juggler gives web and mobile apps asynchronous RPC and pub-sub over
// one WebSocket, with the code that answers the calls decoupled behind a
// broker.
//
// A [Handler] is an [http.Handler]: mount it on any mux, behind any
// middleware. This is a complete server with one callee:
//
//	b, err1 := memory.New()
//	may, err2 := rules.Compile(rules.Rule{Who: []string{rules.Everyone}, Call: []string{"math.*"}, Subscribe: []string{"news.*"}, Publish: []string{"news.*"}})
//	h, err3 := juggler.New(juggler.WithBroker(b), juggler.WithAuthorizer(may))
//	c, err4 := calleekit.New(b)
//	c.Handle("math.add", calleekit.Typed(func(ctx context.Context, in [2]int) (int, error) {
//		return in[0] + in[1], nil
//	}))
//	if err := errors.Join(err1, err2, err3, err4, c.Start(context.Background())); err != nil {
//		log.Fatal(err)
//	}
//	server := &http.Server{Addr: "127.0.0.1:8080", Handler: h,
//		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
//	log.Fatal(server.ListenAndServe())
//
// # The life of a session
//
// A handshake is checked (method, version, origin, protocol, authenticator,
// room for one more) and becomes a session. juggler.1 greets it with HELLO.
// The client sends CALL, SUB, UNSB and PUB; each gets exactly one ACK, or a
// NACK with a code, before anything that it brings about. An acknowledged
// call ends in exactly one RES: the callee's result or error, or the server's
// own word that its time was over (408), it was cancelled (499) or its callee
// died (502). docs/protocol.md has all messages and codes.
//
// # Where user code runs
//
// Connections are served by a few event loops: an idle one owns no goroutine
// and no buffer. User code never runs on a loop, unless it is declared not to
// wait ([NonBlocking], [WithNonBlockingMiddleware]). It runs on a goroutine
// that its session has only while there is something to do, one request after
// the other; so a blocked call holds up that session only, which is not read
// from once [WithMaxRequests] of its requests wait. A panic ends that request
// with code 500 and is logged with its stack. The same goes for runtime.Goexit,
// which FailNow of a test calls.
//
// # Limits
//
// Everything is bounded. The With… options say what, with which default, and what
// happens to a client that goes beyond.
//
// # Shutting down
//
// [http.Server.Shutdown] does not know WebSockets; [Handler.Shutdown] drains
// them. Call both, then close the broker.
package juggler
