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
	BreakerRejected
	BreakerOpened
	PartialFrames
	Duplicated
	Throttled
	Slowed
	Stalled
	Skewed
	Corrected
	Reads
	StaleReads
	counterCount
)

var counterTexts = [counterCount]struct{ name, help string }{
	{"transmissions", "Updates and repairs handed to a link."},
	{"bytes", "Bytes of those frames, length prefix included."},
	{"acks_sent", "Acknowledgements of updates sent."},
	{"digests_sent", "Digests sent."},
	{"retries", "Timeouts that led to another attempt."},
	{"repairs", "Updates sent because a digest showed them missing."},
	{"exhausted", "Series of attempts that reached their limit."},
	{"budget_denied", "Series of attempts that the retry budget ended."},
	{"deferred", "Updates left to reconciliation because a queue was full."},
	{"rejected", "Writes refused before they were stored."},
	{"duplicate_requests", "Writes whose token was known."},
	{"duplicates", "Updates received again."},
	{"out_of_order", "Updates stored that were not next to the highest one."},
	{"reorder_full", "Updates dropped because too many wait behind a gap."},
	{"digest_mismatch", "Digests that do not match the log."},
	{"unsent", "Frames dropped because there was no connection."},
	{"send_queue_full", "Frames dropped because a connection's queue was full."},
	{"malformed", "Frames that could not be understood."},
	{"breaker_rejected", "Attempts that an open circuit breaker held back."},
	{"breaker_opened", "Times that a circuit breaker opened."},
	{"partial_frames", "Connections that ended inside a frame."},
	{"duplicated", "Frames written a second time on purpose."},
	{"throttled", "Frames that waited for their channel's bandwidth."},
	{"slowed", "Updates and repairs that waited because the replica is slowed."},
	{"stalled", "Durable writes that took longer because the disk is slowed."},
	{"skewed", "Entries stamped by a skewed clock."},
	{"corrected", "Entries put right by a repair over the control interface."},
	{"reads", "Reads answered."},
	{"stale_reads", "Reads refused because what is known is too old."},
}

// String is the reported name.
func (c Counter) String() string { return counterTexts[c].name }

// Help says what is counted.
func (c Counter) Help() string { return counterTexts[c].help }

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
	for index, text := range counterTexts {
		all[text.name] = c.values[index].Load()
	}
	return all
}
