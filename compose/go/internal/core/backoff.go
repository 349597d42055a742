package core

// Policy says when an attempt is given up and how long to wait before the next one.
type Policy struct {
	TimeoutNs int64
	// Attempts is the limit for one update and one follower; the first transmission counts.
	Attempts int
	// Backoff is "fixed" or "exponential".
	Backoff string
	BaseNs  int64
	CapNs   int64
	// Jitter is "none", "full", "equal" or "decorrelated".
	Jitter string
	// BudgetPpm is what a first transmission adds to the retry budget, in millionths of a
	// retry; negative means that retries are not budgeted.
	BudgetPpm int64
	// BreakerFailures is how many timeouts in a row open a follower's breaker; 0 is no breaker.
	BreakerFailures int
	// BreakerOpenNs is how long an open breaker lets nothing through.
	BreakerOpenNs int64
}

// WindowNs is the wait before jitter after the k-th attempt failed; k starts at 1.
func (p *Policy) WindowNs(k int) int64 {
	if p.Backoff == "fixed" {
		return p.BaseNs
	}
	shift := uint(max(k, 1) - 1)
	if p.BaseNs == 0 {
		return 0
	}
	// The comparison is made on the cap's side because base shifted left may not fit.
	if shift > 62 || p.BaseNs > p.CapNs>>shift {
		return p.CapNs
	}
	return p.BaseNs << shift
}

// WaitNs is the jittered wait after the k-th attempt failed. previousNs is the wait before
// it (the base at first); only decorrelated jitter looks at it.
func (p *Policy) WaitNs(k int, draw uint64, previousNs int64) int64 {
	window := p.WindowNs(k)
	switch p.Jitter {
	case "full":
		return int64(Scale(draw, uint64(window)+1))
	case "equal":
		half := window / 2
		return half + int64(Scale(draw, uint64(window-half)+1))
	case "decorrelated":
		span := max(1, 3*previousNs-p.BaseNs+1)
		return min(p.CapNs, p.BaseNs+int64(Scale(draw, uint64(span))))
	default:
		return window
	}
}

// RetryDraw is the luck of one wait: keyed by what it is for, never taken from a stream, so
// that two policies meet the same draws.
func RetryDraw(seed, sequence uint64, followerIndex, k int) uint64 {
	return Mix(Mix(Mix(seed, sequence), uint64(followerIndex)), uint64(k))
}

const (
	budgetStart     = 10_000_000
	budgetMax       = 100_000_000
	budgetRetryCost = 1_000_000
)

// Budget is a bucket of retries, counted in millionths of one.
type Budget struct {
	level int64
	ppm   int64
}

// NewBudget starts a bucket that gains ppm with every first transmission.
func NewBudget(ppm int64) Budget { return Budget{level: budgetStart, ppm: ppm} }

// Earn records a first transmission.
func (b *Budget) Earn() {
	if b.ppm > 0 {
		b.level = min(budgetMax, b.level+min(b.ppm, budgetMax))
	}
}

// Spend takes one retry out of the bucket, or says that there is not enough left.
func (b *Budget) Spend() bool {
	if b.ppm < 0 {
		return true
	}
	if b.level < budgetRetryCost {
		return false
	}
	b.level -= budgetRetryCost
	return true
}
