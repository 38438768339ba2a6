module github.com/juggler-go/juggler/telemetry/otel

go 1.26.0
