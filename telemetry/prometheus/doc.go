// Package jugglerprom has what juggler counts collected by Prometheus. It is a
// module of its own, so that the library requires no client of Prometheus.
package jugglerprom
