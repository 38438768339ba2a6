package jugglerotel

import (
	"strconv"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
)

// scope is the instrumentation scope of all spans and metrics.
const scope = "github.com/juggler-go/juggler/telemetry/otel"

// The names of spans and attributes. Those that do not begin with juggler are of
// OpenTelemetry's semantic conventions 1.43: of RPC, which are a release candidate there,
// and of messaging, which are in development but for error.type, which is stable.
const (
	// The names of spans are few, whatever clients send. A call that a callee was found for
	// is named after its URI.
	nameCall    = "CALL"
	namePublish = "publish"

	keySystem         = attribute.Key("rpc.system.name")
	keyMethod         = attribute.Key("rpc.method")
	keyMethodOriginal = attribute.Key("rpc.method_original")
	keyStatus         = attribute.Key("rpc.response.status_code")
	keyErrorType      = attribute.Key("error.type")

	keyMessagingSystem = attribute.Key("messaging.system")
	keyOperation       = attribute.Key("messaging.operation.name")
	keyOperationType   = attribute.Key("messaging.operation.type")
	keyDestination     = attribute.Key("messaging.destination.name")

	// Of a call, in seconds: what its callee's function took by the callee's clock, and what
	// the ways and queues took, which is the rest. They are missing where the callee has not
	// said it, as after a timeout.
	keyRunTime  = attribute.Key("juggler.call.run_time")
	keyWaitTime = attribute.Key("juggler.call.wait_time")

	keyRefused = attribute.Key("juggler.call.refused") // it was certainly not queued
	keyUntold  = attribute.Key("juggler.call.untold")  // its session had ended
	keyParts   = attribute.Key("juggler.call.parts")   // how many the answer had
	keyAttempt = attribute.Key("juggler.call.attempt") // of a call with a key; from 1
	keyStream  = attribute.Key("juggler.call.stream")  // the caller takes parts
)

const (
	system      = "juggler"
	methodOther = "_OTHER" // the convention's word for a method that is not known
)

// maxText bounds the text of an attribute in bytes: names of URIs and channels may be as
// long as a message.
const maxText = 256

// cut returns the beginning of text that fits into an attribute.
func cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// callAttributes are those of a call at its beginning.
func callAttributes(uri string) []attribute.KeyValue {
	return []attribute.KeyValue{keySystem.String(system), keyMethod.String(cut(uri))}
}

// publishAttributes are those of a publication at its beginning.
func publishAttributes(channel string) []attribute.KeyValue {
	return []attribute.KeyValue{
		keyMessagingSystem.String(system),
		keyOperation.String(namePublish),
		keyOperationType.String("send"),
		keyDestination.String(cut(channel)),
	}
}

// codeText is a code of juggler as conventions want it.
func codeText(code int) string { return strconv.Itoa(code) }
