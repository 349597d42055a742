package core

// BreakerState says what a circuit breaker lets through. The numbers are those of the gauge.
type BreakerState int

// The states of a breaker.
const (
	BreakerClosed BreakerState = iota
	BreakerHalfOpen
	BreakerOpen
)

// String is the reported name.
func (s BreakerState) String() string {
	return [...]string{"closed", "half_open", "open"}[s]
}

// breaker keeps attempts from a follower that has not answered for a while: they would only
// load it and the link while it recovers. Reconciliation brings what it holds back.
type breaker struct {
	failuresMax int
	openNs      int64
	state       BreakerState
	// failures counts the timeouts in a row while closed.
	failures   int
	openedAtNs int64
	// probe is the sequence of the one attempt that a half-open breaker let through.
	probe uint64
	// stuck is a seeded bug: the pause never ends.
	stuck bool
}

func newBreaker(config *Config) breaker {
	policy := &config.Policy
	return breaker{
		failuresMax: policy.BreakerFailures, openNs: policy.BreakerOpenNs,
		stuck: config.Bug == BugBreakerStuck,
	}
}

// lets says whether an attempt may be sent now. The first one after the pause is the probe.
func (b *breaker) lets(nowNs int64, sequence uint64) bool {
	if b.state == BreakerOpen && nowNs-b.openedAtNs >= b.openNs && !b.stuck {
		b.state, b.probe = BreakerHalfOpen, sequence
		return true
	}
	return b.state == BreakerClosed
}

// failed notes a timeout, and says whether it opened the breaker.
func (b *breaker) failed(nowNs int64, sequence uint64) bool {
	if b.failuresMax == 0 {
		return false
	}
	switch b.state {
	case BreakerClosed:
		b.failures++
		if b.failures < b.failuresMax {
			return false
		}
	case BreakerHalfOpen:
		if sequence != b.probe {
			return false
		}
	case BreakerOpen:
		return false
	}
	b.state, b.failures, b.openedAtNs = BreakerOpen, 0, nowNs
	return true
}

// succeeded notes an acknowledgement.
func (b *breaker) succeeded() {
	b.failures = 0
	if b.state == BreakerHalfOpen {
		b.state = BreakerClosed
	}
}
