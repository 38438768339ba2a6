// Package jugglerotel has what juggler does seen by OpenTelemetry. It is a module
// of its own, so that the library does not require OpenTelemetry.
package jugglerotel
