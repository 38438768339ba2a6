module github.com/juggler-go/juggler/telemetry/prometheus

go 1.26.0
