package peer

import (
	"context"

	"github.com/centrifugal/centrifuge"
)

// centrifugeServer is a node on the broker in memory.
func centrifugeServer(serve serveFunc) (string, error) {
	node, err := centrifugeNode()
	if err != nil {
		return "", err
	}
	return startCentrifuge(serve, node, plainWebSocket)
}

// centrifugeDeflate compresses, and broadcasts once for all, as its documentation advises.
func centrifugeDeflate() (string, error) {
	node, err := centrifugeNode()
	if err != nil {
		return "", err
	}
	config := plainWebSocket
	config.Compression, config.CompressionMinSize, config.CompressionPreparedMessageCacheSize = true, deflateFrom, 16<<20
	config.CompressionLevel = 1 // as gws has by default; 0 would be none
	return startCentrifuge(serveHTTP, node, config)
}

// centrifugeRedis is a node whose events go through Redis.
func centrifugeRedis() (string, error) {
	addr, err := redisAddr()
	if err != nil {
		return "", err
	}
	node, err := centrifugeNode()
	if err != nil {
		return "", err
	}
	shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: addr})
	if err != nil {
		return "", err
	}
	b, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{Shards: []*centrifuge.RedisShard{shard}})
	if err != nil {
		return "", err
	}
	node.SetBroker(b)
	return startCentrifuge(serveHTTP, node, plainWebSocket)
}

// centrifugeNode shares what many clients read of a history at once.
func centrifugeNode() (*centrifuge.Node, error) {
	return centrifuge.New(centrifuge.Config{LogLevel: centrifuge.LogLevelNone, UseSingleFlight: true})
}

// startCentrifuge answers RPC with its data, and lets everybody subscribe and
// publish. Publications carry no information about their client: that would be
// more bytes for each delivery than the others send.
func startCentrifuge(serve serveFunc, node *centrifuge.Node, config centrifuge.WebsocketConfig) (string, error) {
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: "0123456789abcdef"}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnRPC(func(e centrifuge.RPCEvent, reply centrifuge.RPCCallback) {
			reply(centrifuge.RPCReply{Data: e.Data}, nil)
		})
		client.OnSubscribe(func(e centrifuge.SubscribeEvent, reply centrifuge.SubscribeCallback) {
			reply(centrifuge.SubscribeReply{Options: centrifuge.SubscribeOptions{EnableRecovery: isKept(e.Channel)}}, nil)
		})
		client.OnPublish(func(e centrifuge.PublishEvent, reply centrifuge.PublishCallback) {
			var options []centrifuge.PublishOption
			if isKept(e.Channel) {
				options = append(options, centrifuge.WithHistory(keptEvents, keptFor))
			}
			result, err := node.Publish(e.Channel, e.Data, options...)
			reply(centrifuge.PublishReply{Result: &result}, err)
		})
	})
	if err := node.Run(); err != nil {
		return "", err
	}
	return serve(centrifuge.NewWebsocketHandler(node, config))
}

// plainWebSocket are the settings of its connections.
var plainWebSocket = centrifuge.WebsocketConfig{
	UseWriteBufferPool: true,
	MessageSizeLimit:   1 << 20,
}
