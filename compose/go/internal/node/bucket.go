package node

import (
	"time"

	"driftlab/replica/internal/core"
)

// bucketBytesMin is what a token bucket holds at least.
const bucketBytesMin = 64 << 10

// bucket lets bytes leave at a rate. It keeps the moment at which it would have been empty
// instead of a number of tokens: that needs no fractions.
type bucket struct {
	bytesPerS int64
	emptyNs   int64
}

// leaveNs takes a frame's bytes out and says when the frame may leave.
func (b *bucket) leaveNs(nowNs int64, bytes int) int64 {
	b.emptyNs = max(b.emptyNs, nowNs-b.costNs(max(bucketBytesMin, bytes)))
	b.emptyNs += b.costNs(bytes)
	return b.emptyNs
}

// costNs is how long bytes take to be earned, rounded up.
func (b *bucket) costNs(bytes int) int64 {
	return (int64(bytes)*1e9 + b.bytesPerS - 1) / b.bytesPerS
}

// hold waits until a frame may leave. It returns false when the connection is gone before; a
// stop ends the wait.
func (b *bucket) hold(bytes int, counters *core.Counters, gone, stop <-chan struct{}) bool {
	waitNs := b.leaveNs(monotonicNs(), bytes) - monotonicNs()
	if waitNs <= 0 {
		return true
	}
	counters.Add(core.Throttled, 1)
	timer := time.NewTimer(time.Duration(waitNs))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stop:
	case <-gone:
		return false
	}
	return true
}
