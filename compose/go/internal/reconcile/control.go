package reconcile

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// drifts are the ways in which a row can be wrong.
var drifts = []string{"missing", "older", "newer", "different", "extra"}

// told is a drift in the report.
type told struct {
	TimeNs  int64  `json:"t"`
	Replica string `json:"replica"`
	Drift
}

// report is what GET /report answers: totals since the start.
type report struct {
	RunID       string         `json:"run_id"`
	Rounds      int            `json:"rounds"`
	Nodes       int            `json:"nodes"`
	Rows        int            `json:"rows"`
	Lag         int            `json:"lag"`
	Drift       map[string]int `json:"drift"`
	Corrected   int            `json:"corrected"`
	Left        int            `json:"left"`
	Unreachable int            `json:"unreachable"`
	Snapshots   map[string]int `json:"snapshots"`
	LastDrifts  []told         `json:"last_drifts"`
}

// totals adds up; it is read while rounds go on.
type totals struct {
	mutex sync.Mutex
	sum   report
}

func newTotals() *totals {
	made := &totals{sum: report{
		Drift: make(map[string]int), Snapshots: map[string]int{"valid": 0, "invalid": 0},
		LastDrifts: []told{},
	}}
	for _, why := range drifts {
		made.sum.Drift[why] = 0
	}
	return made
}

func (t *totals) change(how func(*report)) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	how(&t.sum)
}

func (t *totals) round() { t.change(func(sum *report) { sum.Rounds++ }) }

func (t *totals) unreachable() { t.change(func(sum *report) { sum.Unreachable++ }) }

func (t *totals) snapshot(valid bool) {
	key := "invalid"
	if valid {
		key = "valid"
	}
	t.change(func(sum *report) { sum.Snapshots[key]++ })
}

func (t *totals) add(compared *comparison) {
	line := &compared.line
	t.change(func(sum *report) {
		sum.Nodes += line.Nodes
		sum.Rows += line.Rows
		sum.Lag += line.Lag
		sum.Corrected += line.Corrected
		sum.Left += line.Left
		if line.Unreachable != "" {
			sum.Unreachable++
		}
		for why, count := range compared.found {
			sum.Drift[why] += count
		}
		for _, drift := range line.Drift {
			sum.LastDrifts = append(sum.LastDrifts, told{line.TimeNs, line.Replica, drift})
		}
		sum.LastDrifts = sum.LastDrifts[max(0, len(sum.LastDrifts)-driftsTold):]
	})
}

// copy reads everything at one moment.
func (t *totals) copy() report {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	sum := t.sum
	sum.Drift, sum.Snapshots = maps.Clone(sum.Drift), maps.Clone(sum.Snapshots)
	sum.LastDrifts = append([]told{}, sum.LastDrifts...)
	return sum
}

// Control is the HTTP interface.
func (r *Reconciler) Control(version string) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{r.totals})
	get := map[string]http.HandlerFunc{
		"/healthz": func(response http.ResponseWriter, _ *http.Request) {
			answer(response, http.StatusOK, map[string]string{
				"name": "reconciler", "role": "reconciler", "runtime": "go", "version": version,
			})
		},
		"/report": func(response http.ResponseWriter, _ *http.Request) {
			sum := r.totals.copy()
			sum.RunID = r.settings.RunID
			answer(response, http.StatusOK, sum)
		},
		"/metrics": promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP,
	}
	return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		switch serve := get[request.URL.Path]; {
		case serve == nil:
			answer(response, http.StatusNotFound, map[string]string{"error": "there is no such path"})
		case request.Method != http.MethodGet:
			answer(response, http.StatusMethodNotAllowed,
				map[string]string{"error": "there is no such method on this path"})
		default:
			serve(response, request)
		}
	})
}

func answer(response http.ResponseWriter, status int, body any) {
	response.Header().Set("Content-Type", "application/json")
	response.WriteHeader(status)
	json.NewEncoder(response).Encode(body)
}

// collector reports the totals to Prometheus.
type collector struct{ totals *totals }

// Describe is empty on purpose: what is collected describes itself.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads everything once.
func (c *collector) Collect(found chan<- prometheus.Metric) {
	tell := func(name, help string, value int, label ...string) {
		var names, values []string
		if len(label) > 0 {
			names, values = label[:1], label[1:]
		}
		described := prometheus.NewDesc("driftlab_reconciler_"+name+"_total", help, names, nil)
		found <- prometheus.MustNewConstMetric(
			described, prometheus.CounterValue, float64(value), values...)
	}
	sum := c.totals.copy()
	tell("rounds", "Rounds over all followers.", sum.Rounds)
	tell("nodes", "Paths of the trees compared.", sum.Nodes)
	tell("corrected", "Rows put right.", sum.Corrected)
	tell("unreachable", "Rounds and snapshots in which a replica did not answer.", sum.Unreachable)
	for why, count := range sum.Drift {
		tell("drift", "Rows found wrong, each time they were.", count, "why", why)
	}
	for _, valid := range []bool{true, false} {
		key := map[bool]string{true: "valid", false: "invalid"}[valid]
		tell("snapshots", "Snapshots read.", sum.Snapshots[key], "valid", strconv.FormatBool(valid))
	}
}
