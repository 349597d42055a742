package node

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"driftlab/replica/internal/core"
)

// requestBytesMax bounds the body of a control request.
const requestBytesMax = 64 << 10

type health struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Runtime string `json:"runtime"`
	Version string `json:"version"`
	// SeededBug is only there when there is one.
	SeededBug core.Bug `json:"seeded_bug,omitempty"`
}

type state struct {
	Name         string            `json:"name"`
	Mode         string            `json:"mode"`
	LastSequence uint64            `json:"last_sequence"`
	Prefix       uint64            `json:"prefix"`
	PrefixHash   uint64            `json:"prefix_hash"`
	Digest       string            `json:"digest"`
	Keys         int               `json:"keys"`
	Waiting      int               `json:"waiting"`
	Outstanding  int               `json:"outstanding"`
	MonotonicNs  int64             `json:"monotonic_ns"`
	Incarnation  uint64            `json:"incarnation"`
	Breakers     map[string]string `json:"breakers"`
	Counters     map[string]uint64 `json:"counters"`
}

// serveControl starts the control interface; everything it reports on is up by now.
func (n *Node) serveControl() {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{node: n})
	routes := http.NewServeMux()
	routes.HandleFunc("GET /healthz", n.getHealth)
	routes.HandleFunc("GET /state", n.getState)
	routes.HandleFunc("POST /mode", n.postMode)
	routes.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	n.control = &http.Server{
		Handler: routes, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
	}
	go func() {
		if err := n.control.Serve(n.listeners.Control); !errors.Is(err, http.ErrServerClosed) {
			select {
			case <-n.closing:
			default:
				n.fail(err)
			}
		}
	}()
}

func answer(response http.ResponseWriter, status int, body any) {
	response.Header().Set("Content-Type", "application/json")
	response.WriteHeader(status)
	json.NewEncoder(response).Encode(body)
}

func refuse(response http.ResponseWriter, status int, reason string) {
	answer(response, status, map[string]string{"error": reason})
}

func (n *Node) getHealth(response http.ResponseWriter, _ *http.Request) {
	role := "follower"
	if n.settings.Name == n.settings.Leader {
		role = "leader"
	}
	answer(response, http.StatusOK, health{
		Name: n.settings.Name, Role: role, Runtime: "go", Version: n.version, SeededBug: n.bug,
	})
}

// getState asks the owner for a copy, and sorts and hashes it here.
func (n *Node) getState(response http.ResponseWriter, _ *http.Request) {
	copied := make(chan inspection, 1)
	if !n.post(input{inspect: copied}) {
		refuse(response, http.StatusServiceUnavailable, "the replica is stopping")
		return
	}
	select {
	case seen := <-copied:
		breakers := make(map[string]string, len(seen.status.Breakers))
		for _, each := range seen.status.Breakers {
			breakers[each.Follower] = each.State.String()
		}
		answer(response, http.StatusOK, state{
			Name:         n.settings.Name,
			Mode:         seen.status.Mode,
			LastSequence: seen.status.LastSequence,
			Prefix:       seen.status.Prefix,
			PrefixHash:   seen.status.PrefixHash,
			Digest:       core.DigestCells(seen.cells),
			Keys:         seen.status.Keys,
			Waiting:      seen.status.Waiting,
			Outstanding:  seen.status.Outstanding,
			MonotonicNs:  monotonicNs(),
			Incarnation:  n.incarnation,
			Breakers:     breakers,
			Counters:     n.counters.Map(),
		})
	case <-n.owned:
		refuse(response, http.StatusServiceUnavailable, "the replica is stopping")
	}
}

func (n *Node) postMode(response http.ResponseWriter, request *http.Request) {
	var wanted struct {
		Mode string `json:"mode"`
	}
	decoder := json.NewDecoder(io.LimitReader(request.Body, requestBytesMax))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&wanted); err != nil {
		refuse(response, http.StatusBadRequest, err.Error())
		return
	}
	if !core.ValidMode(wanted.Mode) {
		refuse(response, http.StatusBadRequest, "mode must be async, quorum, sync or bounded")
		return
	}
	done := make(chan struct{})
	if n.post(input{mode: wanted.Mode, done: done}) {
		select {
		case <-done:
			answer(response, http.StatusOK, wanted)
			return
		case <-n.owned:
		}
	}
	refuse(response, http.StatusServiceUnavailable, "the replica is stopping")
}

// collector reports the counters and gauges to Prometheus as they are when asked.
type collector struct{ node *Node }

// Describe is empty on purpose: what is collected describes itself.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads everything once.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	for _, counter := range core.AllCounters() {
		described := prometheus.NewDesc(
			"driftlab_"+counter.String()+"_total", counter.Help(), nil, nil)
		metrics <- prometheus.MustNewConstMetric(
			described, prometheus.CounterValue, float64(c.node.counters.Get(counter)))
	}
	for _, gauge := range []struct {
		name, help string
		value      int64
	}{
		{"last_sequence", "Highest sequence stored.", c.node.gauges.lastSequence.Load()},
		{"prefix", "Length of the gapless prefix.", c.node.gauges.prefix.Load()},
		{"waiting", "Entries behind a gap.", c.node.gauges.waiting.Load()},
		{"outstanding", "Attempts outstanding.", c.node.gauges.outstanding.Load()},
	} {
		described := prometheus.NewDesc("driftlab_"+gauge.name, gauge.help, nil, nil)
		metrics <- prometheus.MustNewConstMetric(
			described, prometheus.GaugeValue, float64(gauge.value))
	}
	breakers := c.node.gauges.breakers.Load()
	if breakers == nil {
		return
	}
	described := prometheus.NewDesc("driftlab_breaker_state",
		"Circuit breaker: 0 closed, 1 half-open, 2 open.", []string{"follower"}, nil)
	for _, each := range *breakers {
		metrics <- prometheus.MustNewConstMetric(
			described, prometheus.GaugeValue, float64(each.State), each.Follower)
	}
}
