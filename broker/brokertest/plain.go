package brokertest

import (
	"context"

	"github.com/juggler-go/juggler/broker"
)

// Plain returns the roles of r without the optional interfaces (such as
// broker.Immediate) that they and their connections may have, so that only
// what every broker has is used.
func Plain(r Roles) Roles {
	var p Roles
	if r.Caller != nil {
		p.Caller = plainCaller{r.Caller}
	}
	if r.Callee != nil {
		p.Callee = plainCallee{r.Callee}
	}
	if r.PubSub != nil {
		p.PubSub = plainPubSub{r.PubSub}
	}
	return p
}

// The fields are interfaces, so nothing else of what they hold is promoted.
type (
	plainCaller         struct{ caller broker.Caller }
	plainCallee         struct{ broker.Callee }
	plainPubSub         struct{ pubSub broker.PubSub }
	plainCallerConn     struct{ broker.CallerConn }
	plainSubscriberConn struct{ broker.SubscriberConn }
)

func (p plainCaller) OpenCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result)) (broker.CallerConn, error) {
	conn, err := p.caller.OpenCaller(ctx, node, deliver)
	if err != nil {
		return nil, err
	}
	return plainCallerConn{conn}, nil
}

func (p plainPubSub) Publish(ctx context.Context, e *broker.Event) error {
	return p.pubSub.Publish(ctx, e)
}

func (p plainPubSub) OpenSubscriber(ctx context.Context, deliver func([]broker.Delivery)) (broker.SubscriberConn, error) {
	conn, err := p.pubSub.OpenSubscriber(ctx, deliver)
	if err != nil {
		return nil, err
	}
	return plainSubscriberConn{conn}, nil
}
