// Package jugglerprom has what juggler counts collected by Prometheus. It is a
// module of its own, so that the library requires no client of Prometheus.
//
//	calls := jugglerprom.NewCallObserver(100)
//	h, err := juggler.New(juggler.WithCallObserver(calls.Observe))
//	…
//	prometheus.MustRegister(jugglerprom.NewHandlerCollector(h), calls)
//	http.Handle("/metrics", promhttp.Handler())
//
// The names begin with juggler_; the table of them all is in the package telemetry. Each
// collector takes one snapshot a scrape, and costs nothing in between. Several of a kind in one
// registry need a label each, by [prometheus.WrapRegistererWith]. What labels clients
// can choose is bounded: URIs by [juggler.WithCallStats] and [NewCallObserver], codes
// by the library.
package jugglerprom
