package peer

import (
	"errors"
	"fmt"
	"time"

	"github.com/juggler-go/juggler/internal/freeport"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// natsServe embeds a NATS server with a micro service that answers "echo", in
// the same process and connected to it without a socket.
func natsServe(webSocket bool) (string, error) {
	options := &server.Options{
		Host:            "127.0.0.1",
		Port:            server.RANDOM_PORT,
		NoLog:           true,
		NoSigs:          true,
		NoSystemAccount: true,
	}
	if webSocket {
		port, _, err := freeport.Reserve() // as long as the process
		if err != nil {
			return "", err
		}
		options.Websocket = server.WebsocketOpts{Host: "127.0.0.1", Port: port, NoTLS: true}
	}
	s, err := server.NewServer(options)
	if err != nil {
		return "", err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return "", errors.New("peer: the NATS server does not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		return "", err
	}
	service, err := micro.AddService(nc, micro.Config{Name: "bench", Version: "1.0.0"})
	if err != nil {
		return "", err
	}
	err = service.AddEndpoint("echo", micro.HandlerFunc(func(r micro.Request) {
		_ = r.Respond(r.Data())
	}), micro.WithEndpointSubject("echo"))
	if err != nil {
		return "", err
	}
	if err := nc.Flush(); err != nil {
		return "", err
	}
	if webSocket {
		return fmt.Sprintf("127.0.0.1:%d", options.Websocket.Port), nil
	}
	return s.Addr().String(), nil
}

func natsServer() (string, error) { return natsServe(false) }

func natsWebSocketServer() (string, error) { return natsServe(true) }
