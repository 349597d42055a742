package core

import (
	"math"

	"driftlab/replica/wire"
)

// reevaluate releases every update that the mode in force allows. The range says for which
// sequences something changed; async and bounded depend on more than one update's own
// acknowledgements, so they look at everything below their limit.
func (l *Leader) reevaluate(nowNs int64, first, last uint64) {
	switch l.mode {
	case "async":
		first, last = l.releasedPrefix+1, l.durable()
	case "bounded":
		first, last = l.releasedPrefix+1, l.boundedLimit()
	}
	last = min(last, l.durable())
	for sequence := max(first, l.releasedPrefix+1); sequence <= last; sequence++ {
		candidate := l.updates[sequence-1]
		if !candidate.released && l.releasable(sequence) {
			l.release(nowNs, candidate)
		}
	}
}

// releasable says whether the mode in force lets a durable update be acknowledged.
func (l *Leader) releasable(sequence uint64) bool {
	switch l.mode {
	case "async":
		return true
	case "bounded":
		return sequence <= l.boundedLimit()
	case "sync":
		return l.holders(sequence) == len(l.followers)
	default:
		return l.holders(sequence) > len(l.followers)/2
	}
}

// holders counts the replicas that have the update, the leader included.
func (l *Leader) holders(sequence uint64) int {
	count := 1
	for _, target := range l.followers {
		if target != nil && target.has(sequence) {
			count++
		}
	}
	return count
}

// boundedLimit is the highest sequence that bounded mode may release.
func (l *Leader) boundedLimit() uint64 {
	limit := uint64(math.MaxUint64)
	for _, target := range l.followers {
		if target != nil && target.prefix < limit {
			limit = target.prefix
		}
	}
	if limit > math.MaxUint64-l.config.Bound {
		return math.MaxUint64
	}
	return limit + l.config.Bound
}

func (l *Leader) release(nowNs int64, candidate *update) {
	entry := &candidate.entry
	candidate.released = true
	l.emit(Emit{
		Name: "released", Sequence: entry.Sequence, Token: entry.Token, TimeNs: nowNs,
		ClockNs: entry.ClockNs,
	})
	for _, waiting := range candidate.waiters {
		l.answer(wire.Kind_KIND_WRITE_ACK, waiting.connection, waiting.correlationID, entry)
	}
	candidate.waiters = nil
	for l.releasedPrefix < l.durable() && l.updates[l.releasedPrefix].released {
		l.releasedPrefix++
	}
}
