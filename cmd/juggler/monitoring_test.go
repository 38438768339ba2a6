package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/freeport"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
	"github.com/juggler-go/juggler/telemetry"
)

// An alert is a rule of deploy/prometheus/alerts.yaml.
type alert struct {
	Name        string `yaml:"alert"`
	Expr        string
	Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alert } }
	if err := yaml.Unmarshal([]byte(readFile(t, deploy+"prometheus/alerts.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) < 20 {
		t.Fatalf("not all alerts are found: %+v", file)
	}
	return file.Groups[0].Rules
}

// A target is a query of a panel of deploy/grafana/juggler.json.
type target struct{ panel, expr, legend string }

func targets(t *testing.T) (all []target) {
	t.Helper()
	var dashboard struct {
		Templating struct {
			List []struct{ Name, Definition string }
		}
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal([]byte(readFile(t, deploy+"grafana/juggler.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for _, q := range p.Targets {
			all = append(all, target{p.Title, q.Expr, q.LegendFormat})
		}
	}
	for _, v := range dashboard.Templating.List {
		// What label_values looks for, and takes from it.
		if query, label, found := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(v.Definition, ")"), "label_values("), "}, "); found {
			all = append(all, target{"the variable " + v.Name, query + "}", "{{" + label + "}}"})
		}
	}
	if len(all) < 50 {
		t.Fatalf("not all queries are found: %v", all)
	}
	return all
}

// labelsOf returns the labels of each metric that processes of juggler have.
func labelsOf() map[string][]string {
	all := map[string][]string{"juggler_accept_failures_total": nil}
	for _, m := range telemetry.Handler {
		all[m.Name] = m.Labels
	}
	for _, m := range telemetry.Callee {
		all[m.Name] = m.Labels
	}
	for _, m := range telemetry.Memory {
		all[m.Name] = m.Labels
	}
	for _, m := range telemetry.Redis {
		all[m.Name] = []string{"redis"}
	}
	for _, h := range []telemetry.Histogram{telemetry.CallDuration, telemetry.CallWait, telemetry.CallRun} {
		all[h.Name+"_bucket"] = []string{"uri", "le"}
	}
	return all
}

var (
	metricName  = regexp.MustCompile(`juggler_[a-z_]+`)
	matcherName = regexp.MustCompile(`(\w+) *(=~|!~|!=|=)"`)
	grouping    = regexp.MustCompile(`\b(?:by|without|on|ignoring) *\(([^)]*)\)`)
	legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)
)

// queryLabels returns the labels that a query names.
func queryLabels(expr string) (all []string) {
	for _, m := range matcherName.FindAllStringSubmatch(expr, -1) {
		all = append(all, m[1])
	}
	for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
		for name := range strings.SplitSeq(m[1], ",") {
			all = append(all, strings.TrimSpace(name))
		}
	}
	return all
}

// Alerts and dashboard name only metrics and labels that there are, and the dashboard
// leaves out no metric.
func TestMonitoringNamesMetrics(t *testing.T) {
	known, shown := labelsOf(), make(map[string]bool)
	check := func(where, expr string) {
		labels := []string{"job", "instance", "__name__"}
		for _, name := range metricName.FindAllString(expr, -1) {
			of, found := known[name]
			if !found {
				t.Errorf("%s: there is no metric %s", where, name)
			}
			labels, shown[name] = append(labels, of...), true
		}
		for _, label := range queryLabels(expr) {
			if !slices.Contains(labels, label) {
				t.Errorf("%s: no metric of %s has the label %s", where, expr, label)
			}
		}
	}
	for _, q := range targets(t) {
		check(q.panel, q.expr)
	}
	for name := range known {
		if !shown[name] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
	for _, a := range alerts(t) {
		check(a.Name, a.Expr)
	}
	if want := fmt.Sprint("0.8 * ", option.ServerMaxNodeQueueBytes.Default); !strings.Contains(readFile(t, deploy+"prometheus/alerts.yaml"), want) {
		t.Errorf("no alert is about %s bytes", want)
	}
}

// Each alert leads to what to do, and has a test that it fires.
func TestAlertsAreDocumented(t *testing.T) {
	_, docs, _ := strings.Cut(readFile(t, "../../docs/operations.md"), "\n## Alerts\n")
	docs, _, _ = strings.Cut(docs, "\n## ")
	var documented, names []string
	for _, m := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(docs, -1) {
		documented = append(documented, m[1])
	}
	tests := readFile(t, deploy+"prometheus/alerts_test.yaml")
	for _, a := range alerts(t) {
		names = append(names, a.Name)
		if want := "/docs/operations.md#" + strings.ToLower(a.Name); !strings.HasSuffix(a.Annotations["runbook_url"], want) || a.Annotations["summary"] == "" {
			t.Errorf("%s: %v, want a summary and a link to %s", a.Name, a.Annotations, want)
		}
		if !strings.Contains(tests, `labels: '{alertname="`+a.Name+`"}'`) {
			t.Errorf("no test has %s fire", a.Name)
		}
	}
	if !slices.Equal(names, documented) {
		t.Errorf("the alerts are\n%q, in docs/operations.md\n%q", names, documented)
	}
}

// Each alert fires when it should, and none where all is well.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		cmd := exec.CommandContext(t.Context(), ofPrometheus(t, "promtool"), args...)
		cmd.Dir = deploy + "prometheus"
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, output)
		}
	}
}

// ofPrometheus returns the path of a program of Prometheus.
func ofPrometheus(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is needed: apt-get install -y prometheus", name)
	}
	return path
}

// A prometheus is a running one with our alerts.
type prometheus struct {
	t   *testing.T
	url string
}

// startPrometheus has a real Prometheus scrape admin addresses, by job.
func startPrometheus(t *testing.T, jobs map[string][]string) *prometheus {
	t.Helper()
	dir, address := t.TempDir(), freeport.Address(t)
	rules, err := filepath.Abs(deploy + "prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config strings.Builder
	fmt.Fprintf(&config, "global: { scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms }\nrule_files: [%q]\nscrape_configs:\n", rules)
	for job, urls := range jobs {
		var hosts []string
		for _, u := range urls {
			hosts = append(hosts, strconv.Quote(strings.Trim(strings.TrimPrefix(u, "http:"), "/")))
		}
		fmt.Fprintf(&config, "  - { job_name: %s, static_configs: [{ targets: [%s] }] }\n", job, strings.Join(hosts, ", "))
	}
	writeFile(t, filepath.Join(dir, "prometheus.yml"), config.String())
	cmd := exec.CommandContext(t.Context(), ofPrometheus(t, "prometheus"), "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	process := startCommand(t, cmd)
	awaitListener(t, process, address)
	p := &prometheus{t, "http://" + address}
	waiting.Until(t, "Prometheus is ready", func() bool { status, _ := get(t, p.url+"/-/ready"); return status == http.StatusOK })
	return p
}

// A result is what a query is answered with.
type result struct {
	Metric map[string]string
	Value  [2]any // time, and the value as text
}

// query returns the answer to a query, without what is no number.
func (p *prometheus) query(expr string) (all []result) {
	p.t.Helper()
	status, body := get(p.t, p.url+"/api/v1/query?query="+url.QueryEscape(expr))
	var answer struct{ Data struct{ Result []result } }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK {
		p.t.Fatalf("%s: %d %s", expr, status, body)
	}
	return slices.DeleteFunc(answer.Data.Result, func(r result) bool { return r.Value[1] == "NaN" })
}

// states returns the state of each alert that Prometheus can evaluate.
func (p *prometheus) states() map[string]string {
	p.t.Helper()
	_, body := get(p.t, p.url+"/api/v1/rules?type=alert")
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, State, Health, LastError string }
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Data.Groups) != 1 {
		p.t.Fatalf("%v: %s", err, body)
	}
	states := make(map[string]string)
	for _, r := range answer.Data.Groups[0].Rules {
		if r.Health == "err" {
			p.t.Fatalf("%s: %s", r.Name, r.LastError)
		}
		if r.Health == "ok" {
			states[r.Name] = r.State
		}
	}
	return states
}

// comparison is where an alert leaves out what is in order.
var comparison = regexp.MustCompile(` (>|==) `)

// healthy are the selectors of alerts that find nothing where all is well, as there is no
// such value of a label before it is counted for the first time.
var healthy = map[string]string{
	`juggler_results_total{code="404"}`:            "no callee has left with calls in its queue",
	`juggler_results_total{code="408"}`:            "no call has expired",
	`juggler_nacks_total{type="CALL", code="503"}`: "no queue is full",
	`juggler_refusals_total{`:                      "no server is full",
}

// questions returns all queries of dashboard and alerts, with the legends: those of
// alerts have a value also where all is well.
func questions(t *testing.T) map[string]string {
	all := make(map[string]string)
	variables := strings.NewReplacer("$job", ".*", "$instance", ".*", "$__rate_interval", "1m")
	for _, q := range targets(t) {
		all[variables.Replace(q.expr)] += q.legend
	}
	for _, a := range alerts(t) {
		for _, expr := range regexp.MustCompile(`\n(?:or|and) `).Split(a.Expr, -1) {
			if !isHealthy(expr) {
				all[comparison.ReplaceAllString(expr, " $1 bool ")] += ""
			}
		}
	}
	return all
}

func isHealthy(expr string) bool {
	for selector := range healthy {
		if strings.Contains(expr, selector) {
			return true
		}
	}
	return false
}

// A real Prometheus scrapes servers and a callee with traffic. Each panel of the dashboard
// shows something, with the labels of its legend, and the alerts can be evaluated; when
// Redis dies, the one for that is raised.
func TestPrometheus(t *testing.T) {
	t.Parallel() // it mostly waits
	redis := redistest.Start(t)
	address := []string{"--redis", "redis://" + redis.Addr, "--admin-listen", "127.0.0.1:0"}
	callee := startCallee(t, append(address, "--error-texts")...)
	server, socket := startServe(t, append(address, "--call-stats", "10")...)
	embedded, _ := startServe(t, "--admin-listen", "127.0.0.1:0")
	p := startPrometheus(t, map[string][]string{
		"juggler": {adminURL(t, server), adminURL(t, embedded)}, "juggler-callee": {adminURL(t, callee)},
	})
	c, err := client.Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	unanswered := questions(t)
	t.Cleanup(func() {
		for expr := range unanswered {
			t.Logf("not answered: %s", expr)
		}
	})
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	waiting.Until(t, "all queries are answered", func() bool {
		<-tick.C
		traffic(t, c, socket)
		for _, expr := range slices.Collect(maps.Keys(unanswered)) {
			if results := p.query(expr); len(results) > 0 {
				for _, label := range legendLabel.FindAllStringSubmatch(unanswered[expr], -1) {
					if _, found := results[0].Metric[label[1]]; !found {
						t.Errorf("the legend %q of %s: %v", unanswered[expr], expr, results[0].Metric)
					}
				}
				delete(unanswered, expr)
			}
		}
		return t.Failed() || len(unanswered) == 0
	})

	waiting.Until(t, "all alerts are evaluated", func() bool { return len(p.states()) == len(alerts(t)) })
	waiting.Until(t, "no alert is raised for Redis, which lives", func() bool { return p.states()["JugglerBrokerDown"] == "inactive" })
	redis.Kill()
	waiting.Until(t, "the alert is raised", func() bool { return p.states()["JugglerBrokerDown"] != "inactive" })
}

// traffic makes what servers count by codes and reasons.
func traffic(t *testing.T, c *client.Client, socket string) {
	t.Helper()
	for uri, args := range map[string]any{"test.echo": 1, "test.reverse": 1, "nobody": 1} { // the second wants a text
		_ = c.Call(t.Context(), uri, args, nil)
	}
	if err := c.Publish(t.Context(), "news", 1); err != nil {
		t.Error(err)
	}
	short, err := client.Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	short.Close()
	get(t, strings.Replace(socket, "ws:", "http:", 1)) // no WebSocket: refused
}
