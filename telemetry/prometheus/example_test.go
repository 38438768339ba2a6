package jugglerprom_test

import (
	"log"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/redis"
	jugglerprom "github.com/juggler-go/juggler/telemetry/prometheus"
)

// A node whose metrics Prometheus scrapes at an address that the public cannot reach.
func Example() {
	b, err := redis.New(redis.WithServer(&goredis.Options{Addr: "127.0.0.1:6379"}))
	if err != nil {
		log.Fatal(err)
	}
	calls := jugglerprom.NewCallObserver(100)
	h, err := juggler.New(juggler.WithBroker(b), juggler.WithCallObserver(calls.Observe))
	if err != nil {
		log.Fatal(err)
	}
	prometheus.MustRegister(jugglerprom.NewHandlerCollector(h), jugglerprom.NewRedisCollector(b), calls)

	admin := http.NewServeMux()
	admin.Handle("GET /metrics", promhttp.Handler())
	go func() { log.Fatal(http.ListenAndServe("127.0.0.1:9090", admin)) }()
	log.Fatal(http.ListenAndServe(":8080", h))
}
