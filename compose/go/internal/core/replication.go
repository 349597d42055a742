package core

import "driftlab/replica/wire"

// attempt is an update on its way to one follower, from its first transmission until it is
// acknowledged or given up.
type attempt struct {
	number int
	// waitedNs is the last wait between attempts; the base at first.
	waitedNs int64
	// epoch is the only one whose timer counts.
	epoch uint64
}

// follower is what the leader knows about one follower.
type follower struct {
	index int
	name  string
	// prefix is the length of the gapless prefix that is acknowledged.
	prefix uint64
	// above holds what is acknowledged beyond the prefix.
	above       map[uint64]struct{}
	outstanding map[uint64]*attempt
	// incarnation is the newest one seen.
	incarnation uint64
	breaker     breaker
	// promised counts the series of attempts begun in this call: their frames are not queued yet.
	promised int
	// deaf is a seeded bug: digests are no longer heard.
	deaf bool
}

func newFollowerView(index int, name string, config *Config) *follower {
	return &follower{
		index: index, name: name, breaker: newBreaker(config),
		above:       make(map[uint64]struct{}),
		outstanding: make(map[uint64]*attempt),
	}
}

// has says whether the follower has acknowledged a sequence.
func (f *follower) has(sequence uint64) bool {
	if sequence <= f.prefix {
		return true
	}
	_, found := f.above[sequence]
	return found
}

// mark records an acknowledgement.
func (f *follower) mark(sequence uint64) {
	delete(f.outstanding, sequence)
	if sequence <= f.prefix {
		return
	}
	f.above[sequence] = struct{}{}
	f.extend()
}

// markPrefix records that everything up to a sequence is acknowledged.
func (f *follower) markPrefix(prefix uint64) {
	if prefix <= f.prefix {
		return
	}
	for sequence := range f.outstanding {
		if sequence <= prefix {
			delete(f.outstanding, sequence)
		}
	}
	for sequence := range f.above {
		if sequence <= prefix {
			delete(f.above, sequence)
		}
	}
	f.prefix = prefix
	f.extend()
}

func (f *follower) extend() {
	for {
		if _, found := f.above[f.prefix+1]; !found {
			return
		}
		f.prefix++
		delete(f.above, f.prefix)
	}
}

// forgetAbove drops what a follower that lost state no longer has.
func (f *follower) forgetAbove(prefix uint64) {
	f.prefix = prefix
	clear(f.above)
}

// replicate starts a series of attempts, or leaves the update to reconciliation.
func (l *Leader) replicate(nowNs int64, target *follower, stored *update) {
	if l.config.Overflow == "defer" &&
		(len(target.outstanding) >= l.config.QueueLimit || l.channelFull(target, target.promised)) {
		l.count(Deferred)
		return
	}
	if !target.breaker.lets(nowNs, stored.entry.Sequence) {
		l.count(BreakerRejected)
		return
	}
	started := &attempt{waitedNs: l.config.Policy.BaseNs}
	target.outstanding[stored.entry.Sequence] = started
	target.promised++
	l.budget.Earn()
	l.transmit(nowNs, target, stored, started)
}

// transmit sends the next attempt of a series and starts its timeout.
func (l *Leader) transmit(nowNs int64, target *follower, stored *update, current *attempt) {
	current.number++
	l.sendEntry(wire.Kind_KIND_UPDATE, target, &stored.entry, current.number)
	l.arm(nowNs+l.config.Policy.TimeoutNs, TimerTimeout, target, stored, current)
}

func (l *Leader) sendEntry(kind wire.Kind, target *follower, entry *Entry, attempt int) {
	envelope := entry.Envelope(kind, l.config.Name, attempt)
	envelope.ClockNs = entry.ClockNs
	envelope.Traceparent = entry.Traceparent
	if l.config.Bug == BugReencodes {
		envelope.Payload = reencode(envelope.Payload)
	}
	l.emit(Send{Target: target.index, Envelope: envelope})
}

// arm sets a timer that makes all earlier timers of the series stale.
func (l *Leader) arm(atNs int64, kind TimerKind, target *follower, stored *update, a *attempt) {
	l.epoch++
	a.epoch = l.epoch
	l.emit(SetTimer{AtNs: atNs, Timer: Timer{
		Kind: kind, Follower: target.index, Sequence: stored.entry.Sequence, Epoch: l.epoch,
	}})
}

// Expire goes on with a series of attempts.
func (l *Leader) Expire(nowNs int64, timer Timer) []Command {
	l.begin()
	if timer.Kind == TimerProgress {
		l.progress(nowNs)
		return l.out
	}
	target := l.followers[timer.Follower]
	current := target.outstanding[timer.Sequence]
	if current == nil || current.epoch != timer.Epoch {
		return l.out
	}
	stored := l.updates[timer.Sequence-1]
	if timer.Kind == TimerTimeout {
		l.timeOut(nowNs, target, stored, current)
	} else if target.breaker.lets(nowNs, timer.Sequence) {
		l.transmit(nowNs, target, stored, current)
	} else {
		l.count(BreakerRejected)
		delete(target.outstanding, timer.Sequence)
	}
	return l.out
}

// timeOut decides what follows an attempt that was not answered.
func (l *Leader) timeOut(nowNs int64, target *follower, stored *update, current *attempt) {
	policy, sequence := &l.config.Policy, stored.entry.Sequence
	if target.breaker.failed(nowNs, sequence) {
		l.count(BreakerOpened)
		l.emit(Warn{
			Message: "a breaker opened", Replica: target.name, Sequence: sequence,
			CorrelationID: stored.entry.CorrelationID,
		})
	}
	l.emit(TimedOut{Target: target.index, Sequence: sequence})
	switch {
	case current.number >= policy.Attempts:
		l.count(Exhausted)
		delete(target.outstanding, sequence)
	case target.breaker.state != BreakerClosed:
		l.count(BreakerRejected)
		delete(target.outstanding, sequence)
	case l.config.Bug == BugEagerRetries:
		l.count(Retries)
		l.transmit(nowNs, target, stored, current)
	case !l.budget.Spend():
		l.count(BudgetDenied)
		delete(target.outstanding, sequence)
	default:
		l.count(Retries)
		draw := RetryDraw(l.config.Seed, sequence, target.index, current.number)
		current.waitedNs = policy.WaitNs(current.number, draw, current.waitedNs)
		l.arm(nowNs+current.waitedNs, TimerBackoff, target, stored, current)
	}
}

// acknowledge handles an UPDATE_ACK.
func (l *Leader) acknowledge(nowNs int64, source *follower, sequence uint64) {
	if sequence == 0 || sequence > l.durable() {
		l.count(Malformed)
		return
	}
	source.breaker.succeeded()
	source.mark(sequence)
	l.reevaluate(nowNs, sequence, sequence)
}

// reconcile handles a DIGEST: it believes what the follower has, and repairs what it lacks.
func (l *Leader) reconcile(nowNs int64, source *follower, digest *wire.Envelope) {
	prefix, incarnation := digest.GetSequence(), digest.GetIncarnation()
	if incarnation < source.incarnation || source.deaf {
		return
	}
	if incarnation > source.incarnation && prefix < source.prefix {
		source.forgetAbove(prefix)
	}
	source.incarnation = incarnation
	if prefix > l.durable() || l.hashes[prefix] != digest.GetPrefixHash() {
		l.count(DigestMismatch)
		source.deaf = l.config.Bug == BugDeafToDigests
		l.emit(Warn{
			Message: "a digest does not match the log", Replica: source.name, Sequence: prefix,
		})
		return
	}
	before := source.prefix
	if prefix > before {
		source.breaker.succeeded()
	}
	source.markPrefix(prefix)
	l.reevaluate(nowNs, before+1, source.prefix)
	l.repair(nowNs, source, prefix)
}

// repair sends what is missing above a prefix and old enough not to be merely on its way.
func (l *Leader) repair(nowNs int64, target *follower, prefix uint64) {
	sent := 0
	for sequence := prefix + 1; sequence <= l.durable() && sent < l.config.RepairBatch; sequence++ {
		entry := &l.updates[sequence-1].entry
		// An entry from before this start is old enough, whatever its timestamp says.
		if entry.ClockNs != 0 && nowNs-entry.ClockNs < l.config.Policy.TimeoutNs {
			return
		}
		if target.has(sequence) {
			continue
		}
		l.count(Repairs)
		sent++
		l.sendEntry(wire.Kind_KIND_REPAIR, target, entry, 0)
	}
}
