package core

import "sync/atomic"

// Counter names one of the numbers a replica keeps about itself.
type Counter int

// The counters, in the order in which they are reported.
const (
	Transmissions Counter = iota
	Bytes
	AcksSent
	DigestsSent
	Retries
	Repairs
	Exhausted
	BudgetDenied
	Deferred
	Rejected
	DuplicateRequests
	Duplicates
	OutOfOrder
	ReorderFull
	DigestMismatch
	Unsent
	SendQueueFull
	Malformed
	counterCount
)

var counterNames = [counterCount]string{
	"transmissions", "bytes", "acks_sent", "digests_sent", "retries", "repairs", "exhausted",
	"budget_denied", "deferred", "rejected", "duplicate_requests", "duplicates",
	"out_of_order", "reorder_full", "digest_mismatch", "unsent", "send_queue_full", "malformed",
}

// String is the reported name.
func (c Counter) String() string { return counterNames[c] }

// AllCounters lists every counter.
func AllCounters() []Counter {
	all := make([]Counter, counterCount)
	for index := range all {
		all[index] = Counter(index)
	}
	return all
}

// Counters are written by the state machine and by the links, and read by the control
// interface, hence atomic.
type Counters struct{ values [counterCount]atomic.Uint64 }

// Add raises a counter.
func (c *Counters) Add(counter Counter, amount uint64) { c.values[counter].Add(amount) }

// Get reads a counter.
func (c *Counters) Get(counter Counter) uint64 { return c.values[counter].Load() }

// Map reads all counters by their reported names.
func (c *Counters) Map() map[string]uint64 {
	all := make(map[string]uint64, counterCount)
	for index, name := range counterNames {
		all[name] = c.values[index].Load()
	}
	return all
}
