package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"driftlab/replica/internal/settings"
	"driftlab/replica/wire"
)

// BenchmarkAcknowledge writes at a fixed rate to three replicas and reports how long an
// acknowledgement takes; run it with -benchtime=3000x for three thousand writes.
func BenchmarkAcknowledge(b *testing.B) {
	for _, mode := range []string{"async", "quorum", "sync"} {
		for _, perSecond := range []int{100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", mode, perSecond), func(b *testing.B) {
				measure(b, mode, perSecond)
			})
		}
	}
}

func measure(b *testing.B, mode string, perSecond int) {
	c := newCluster(b, 3, func(s *settings.Settings) { s.Mode = mode })
	c.connected()
	client := c.dial()
	client.SetReadDeadline(time.Now().Add(10 * time.Minute))
	sent := make([]int64, b.N)
	begin := time.Now()
	go func() {
		for number := range b.N {
			due := begin.Add(time.Duration(number) * time.Second / time.Duration(perSecond))
			time.Sleep(time.Until(due))
			sent[number] = monotonicNs()
			client.send(fmt.Sprint(number))
		}
	}()
	took := make([]float64, 0, b.N)
	for len(took) < b.N {
		answer := client.receive()
		if answer.GetKind() != wire.Kind_KIND_WRITE_ACK {
			b.Fatalf("answer %v", answer)
		}
		var number int
		fmt.Sscan(answer.GetIdempotencyToken(), &number)
		took = append(took, float64(monotonicNs()-sent[number])/1e6)
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2], "p50-ms")
	b.ReportMetric(took[len(took)*99/100], "p99-ms")
	b.ReportMetric(float64(c.state(0).Counters["retries"]), "retries")
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "writes/s")
	c.converged(uint64(b.N))
}
