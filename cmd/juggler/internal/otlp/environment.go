package otlp

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/propagation"
)

// A signal is a kind of telemetry, as it stands in the names of variables.
type signal string

const (
	traces  signal = "TRACES"
	metrics signal = "METRICS"
)

// variable returns the value of the first variable that is set, and its name.
func variable(names ...string) (name, value string) {
	for _, name := range names {
		if value := strings.TrimSpace(os.Getenv(name)); value != "" {
			return name, value
		}
	}
	return "", ""
}

// variable returns the value of the signal's own variable, or else of that for all signals.
func (s signal) variable(what string) (name, value string) {
	return variable("OTEL_EXPORTER_OTLP_"+string(s)+"_"+what, "OTEL_EXPORTER_OTLP_"+what)
}

// wanted reports whether s is exported, and checks what says how.
func (s signal) wanted() (bool, error) {
	if _, off := variable("OTEL_SDK_DISABLED"); strings.EqualFold(off, "true") {
		return false, nil
	}
	endpointName, endpoint := s.variable("ENDPOINT")
	switch name, exporter := variable("OTEL_" + string(s) + "_EXPORTER"); exporter {
	case "otlp":
	case "":
		if endpoint == "" {
			return false, nil
		}
	case "none":
		return false, nil
	default:
		return false, fmt.Errorf("%s=%s: want otlp or none", name, exporter)
	}
	if err := s.checkProtocol(); err != nil || endpoint == "" {
		return err == nil, err
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return false, errors.New(endpointName + ": want http://HOST:PORT or https://HOST:PORT") // without the text, which may have a password
	}
	return true, nil
}

// checkProtocol checks the protocol. There is no export of metrics as JSON: where all signals
// shall go so, they go as protobuf, which every collector of that port takes.
func (s signal) checkProtocol() error {
	name, protocol := s.variable("PROTOCOL")
	if s == metrics && name == "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL" && protocol != "http/protobuf" {
		return fmt.Errorf("%s=%s: want http/protobuf, whose port is 4318 as a rule", name, protocol)
	}
	if !slices.Contains([]string{"", "http/protobuf", "http/json"}, protocol) {
		return fmt.Errorf("%s=%s: want http/protobuf or http/json, whose port is 4318 as a rule", name, protocol)
	}
	return nil
}

// milliseconds checks a variable that is a time.
func milliseconds(name string) error {
	const day = 24 * 60 * 60 * 1000
	_, value := variable(name)
	if value == "" {
		return nil
	}
	if n, err := strconv.Atoi(value); err != nil || n < 1 || n > day {
		return fmt.Errorf("%s=%s: want milliseconds, 1 to %d", name, value, day)
	}
	return nil
}

// propagators returns the propagator of OTEL_PROPAGATORS.
func propagators() (propagation.TextMapPropagator, error) {
	name, list := variable("OTEL_PROPAGATORS")
	if list == "" {
		list = "tracecontext,baggage"
	}
	var all []propagation.TextMapPropagator
	for one := range strings.SplitSeq(list, ",") {
		switch strings.TrimSpace(one) {
		case "tracecontext":
			all = append(all, propagation.TraceContext{})
		case "baggage":
			all = append(all, propagation.Baggage{})
		default:
			return nil, fmt.Errorf("%s=%s: want tracecontext, baggage or both", name, list)
		}
	}
	return propagation.NewCompositeTextMapPropagator(all...), nil
}
