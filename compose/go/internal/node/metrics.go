package node

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"driftlab/replica/internal/core"
)

// secondsBuckets are the bounds of every histogram, in seconds.
var secondsBuckets = []float64{
	0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
}

// metrics is what the replica measures beside its counters.
type metrics struct {
	enqueueDelay, processing, commit prometheus.Histogram
	commits                          atomic.Uint64
	// status is what the control interface reads without asking the owner.
	status atomic.Pointer[core.Status]
}

func newMetrics() *metrics {
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "driftlab_" + name + "_seconds", Help: help, Buckets: secondsBuckets,
		})
	}
	made := &metrics{
		enqueueDelay: histogram("enqueue_delay", "A frame's wait in its outgoing queue."),
		processing:   histogram("processing", "An entry from read to durable and answered."),
		commit:       histogram("commit", "An update from its sequence to its release."),
	}
	made.status.Store(&core.Status{})
	return made
}

// registry collects everything there is to tell.
func (n *Node) registry() *prometheus.Registry {
	made := prometheus.NewRegistry()
	made.MustRegister(
		&collector{node: n}, n.metrics.enqueueDelay, n.metrics.processing, n.metrics.commit)
	return made
}

// collector reports the counters and gauges to Prometheus as they are when asked.
type collector struct{ node *Node }

// Describe is empty on purpose: what is collected describes itself.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads everything once.
func (c *collector) Collect(found chan<- prometheus.Metric) {
	tell := func(kind prometheus.ValueType, name, help string, value float64, label ...string) {
		var names, values []string
		if len(label) > 0 {
			names, values = label[:1], label[1:]
		}
		described := prometheus.NewDesc("driftlab_"+name, help, names, nil)
		found <- prometheus.MustNewConstMetric(described, kind, value, values...)
	}
	for _, counter := range core.AllCounters() {
		tell(prometheus.CounterValue, counter.String()+"_total", counter.Help(),
			float64(c.node.counters.Get(counter)))
	}
	tell(prometheus.CounterValue, "commits_total", "Updates released.",
		float64(c.node.metrics.commits.Load()))
	status := c.node.metrics.status.Load()
	gauge := func(name, help string, value float64, label ...string) {
		tell(prometheus.GaugeValue, name, help, value, label...)
	}
	gauge("last_sequence", "Highest sequence stored.", float64(status.LastSequence))
	gauge("prefix", "Length of the gapless prefix.", float64(status.Prefix))
	gauge("waiting", "Entries behind a gap.", float64(status.Waiting))
	gauge("outstanding", "Attempts outstanding.", float64(status.Outstanding))
	gauge("staleness_seconds", "Age of the latest moment up to which everything is applied.",
		float64(stalenessNs(status))/1e9)
	for _, each := range status.Breakers {
		gauge("breaker_state", "Circuit breaker: 0 closed, 1 half-open, 2 open.",
			float64(each.State), "follower", each.Follower)
	}
	for _, each := range status.Acknowledged {
		gauge("lag", "Entries that the follower has not acknowledged without a gap.",
			float64(status.LastSequence)-float64(each.Prefix), "follower", each.Follower)
	}
	for _, each := range c.node.owner.links {
		if each != nil {
			gauge("queue_depth", "Frames that wait for the peer.",
				float64(each.waitingFrames.Load()), "peer", each.name)
			gauge("queue_bytes", "Bytes that wait for the peer.",
				float64(each.waitingBytes.Load()), "peer", each.name)
			connected := 0.0
			if each.isConnected() {
				connected = 1
			}
			gauge("connected", "Whether a connection to the peer is open.", connected, "peer", each.name)
		}
	}
}

// stalenessNs is how long ago everything was certainly applied.
func stalenessNs(status *core.Status) int64 {
	if status.IsNow {
		return 0
	}
	return max(0, monotonicNs()-status.AsOfNs)
}
