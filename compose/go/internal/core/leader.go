package core

import (
	"fmt"

	"driftlab/replica/wire"
)

// waitersPerUpdateMax bounds how many attempts of clients wait for one update. Beyond it the
// oldest is forgotten: its client has most likely given up.
const waitersPerUpdateMax = 64

// waiter is one attempt of a client that has not been answered.
type waiter struct {
	connection    uint64
	correlationID string
}

// update is an entry and what the leader knows about its acknowledgement to clients.
type update struct {
	entry    Entry
	durable  bool
	released bool
	waiters  []waiter
}

// Leader accepts writes and owns the changelog.
type Leader struct {
	base
	// updates holds sequence s at index s-1; the last ones may not be durable yet.
	updates []*update
	// hashes holds the hash of the durable prefix of length n at index n.
	hashes  []uint64
	byToken map[string]*update
	// followers has one place for each replica, in their order; the leader's own is nil.
	followers []*follower
	budget    Budget
	epoch     uint64
	// releasedPrefix is the length of the prefix in which everything is released.
	releasedPrefix uint64
	nextProgressNs int64
}

// NewLeader makes a leader with an empty log.
func NewLeader(config Config, counters *Counters) *Leader {
	leader := &Leader{
		base:      newBase(config, counters),
		hashes:    []uint64{0},
		byToken:   make(map[string]*update),
		followers: make([]*follower, len(config.Replicas)),
		budget:    NewBudget(config.Policy.BudgetPpm),
	}
	for index, name := range config.Replicas {
		if name != config.Leader {
			leader.followers[index] = newFollowerView(index, name, &config)
		}
	}
	return leader
}

// Restore takes over a stored entry. Who acknowledged it is not known any more.
func (l *Leader) Restore(entry Entry) error {
	if want := uint64(len(l.updates)) + 1; entry.Sequence != want {
		return fmt.Errorf("the log of a leader has no gaps, but after %d comes %d",
			want-1, entry.Sequence)
	}
	restored := &update{entry: entry}
	l.updates = append(l.updates, restored)
	l.byToken[entry.Token] = restored
	l.settle(restored)
	return nil
}

// Start opens this incarnation.
func (l *Leader) Start(nowNs int64) []Command {
	l.begin()
	l.emit(Emit{
		Name: "start", Incarnation: l.config.Incarnation, Prefix: l.durable(), TimeNs: nowNs,
	})
	l.nextProgressNs = nowNs
	l.armProgress(nowNs)
	return l.out
}

// durable is how far the log is on disk.
func (l *Leader) durable() uint64 { return uint64(len(l.hashes)) - 1 }

// settle takes an update that is on disk into the hash and the state.
func (l *Leader) settle(stored *update) {
	stored.durable = true
	last := l.hashes[len(l.hashes)-1]
	word := PayloadWord(stored.entry.Payload)
	l.hashes = append(l.hashes, ExtendHash(last, stored.entry.Sequence, word))
	l.apply(&stored.entry)
}

// Write handles a client's request.
func (l *Leader) Write(nowNs int64, request WriteRequest) []Command {
	l.beginSending()
	key, err := PayloadKey(request.Payload)
	if err != nil || request.Token == "" {
		l.count(Malformed)
		return l.out
	}
	known, found := l.byToken[request.Token]
	if found && !l.forgotten(nowNs, known) {
		l.writeAgain(nowNs, request, known)
		return l.out
	}
	if l.config.Overflow == "reject" && l.full() {
		l.reject(nowNs, request)
		return l.out
	}
	accepted := &update{
		entry: Entry{
			Sequence:      uint64(len(l.updates)) + 1,
			TimestampNs:   nowNs + request.SkewNs,
			Origin:        l.config.Name,
			Token:         request.Token,
			CorrelationID: request.CorrelationID,
			Payload:       request.Payload,
			Key:           key,
			ClockNs:       nowNs,
			Traceparent:   request.Traceparent,
		},
		waiters: []waiter{{request.Connection, request.CorrelationID}},
	}
	if request.Skewed {
		l.count(Skewed)
	}
	l.updates = append(l.updates, accepted)
	l.byToken[request.Token] = accepted
	l.emit(Append{Entry: &accepted.entry})
	if l.config.Bug == BugEarlyAck {
		l.answer(wire.Kind_KIND_WRITE_ACK, request.Connection, request.CorrelationID, &accepted.entry)
	}
	return l.out
}

// forgotten says whether a token that was stored is, by a seeded bug, no longer known.
func (l *Leader) forgotten(nowNs int64, known *update) bool {
	switch l.config.Bug {
	case BugTokenIgnored:
		return true
	case BugTokenForgotten:
		return nowNs-known.entry.ClockNs > tokenMemoryNs
	}
	return false
}

// writeAgain handles a request whose token is known.
func (l *Leader) writeAgain(nowNs int64, request WriteRequest, known *update) {
	l.count(DuplicateRequests)
	if known.released {
		l.answer(wire.Kind_KIND_WRITE_ACK, request.Connection, request.CorrelationID, &known.entry)
		return
	}
	if len(known.waiters) == waitersPerUpdateMax {
		known.waiters = known.waiters[1:]
	}
	known.waiters = append(known.waiters, waiter{request.Connection, request.CorrelationID})
	if !known.durable {
		return
	}
	for _, target := range l.followers {
		if target != nil && !target.has(known.entry.Sequence) &&
			target.outstanding[known.entry.Sequence] == nil {
			l.replicate(nowNs, target, known)
		}
	}
	l.reevaluate(nowNs, known.entry.Sequence, known.entry.Sequence)
}

// full says whether some follower's queue has no room. Updates that are being written to disk
// count, because each will become an attempt to every follower.
func (l *Leader) full() bool {
	pending := len(l.updates) - int(l.durable())
	for _, target := range l.followers {
		if target != nil && (len(target.outstanding)+pending >= l.config.QueueLimit ||
			l.channelFull(target, pending)) {
			return true
		}
	}
	return false
}

// channelFull says whether the bytes that wait for a follower leave no room for more.
func (l *Leader) channelFull(target *follower, ahead int) bool {
	return l.config.ChannelFull != nil && l.config.ChannelFull(target.index, ahead)
}

// beginSending is for the calls in which new series of attempts begin.
func (l *Leader) beginSending() {
	l.begin()
	for _, target := range l.followers {
		if target != nil {
			target.promised = 0
		}
	}
}

// Committed replicates what has become durable.
func (l *Leader) Committed(nowNs int64, count int) []Command {
	l.beginSending()
	for range count {
		stored := l.updates[l.durable()]
		l.settle(stored)
		sequence, token := stored.entry.Sequence, stored.entry.Token
		l.emit(Emit{Name: "accepted", Sequence: sequence, Token: token, TimeNs: nowNs})
		l.emit(Emit{Name: "applied", Sequence: sequence, Token: token, TimeNs: nowNs})
		for _, target := range l.followers {
			if target != nil {
				l.replicate(nowNs, target, stored)
			}
		}
		l.reevaluate(nowNs, sequence, sequence)
	}
	return l.out
}

// Receive handles a frame of a follower.
func (l *Leader) Receive(nowNs int64, envelope *wire.Envelope) []Command {
	l.begin()
	source := l.followerNamed(envelope.GetSource())
	if source == nil {
		l.count(Malformed)
		return l.out
	}
	switch envelope.GetKind() {
	case wire.Kind_KIND_UPDATE_ACK:
		l.acknowledge(nowNs, source, envelope.GetSequence())
	case wire.Kind_KIND_DIGEST:
		l.reconcile(nowNs, source, envelope)
	default:
		l.count(Malformed)
	}
	return l.out
}

func (l *Leader) followerNamed(name string) *follower {
	for _, candidate := range l.followers {
		if candidate != nil && candidate.name == name {
			return candidate
		}
	}
	return nil
}

// SetMode switches the replication mode and releases what it makes releasable.
func (l *Leader) SetMode(nowNs int64, mode string) []Command {
	l.begin()
	l.mode = mode
	l.emit(Emit{Name: "mode", Mode: mode, TimeNs: nowNs})
	l.reevaluate(nowNs, l.releasedPrefix+1, l.durable())
	return l.out
}

// Correct does nothing: the leader is what others are corrected by.
func (l *Leader) Correct(_ int64, entries []Entry) ([]Command, Corrections) {
	return nil, Corrections{Unchanged: len(entries)}
}

// armProgress keeps the tellings on the grid that began at the start.
func (l *Leader) armProgress(nowNs int64) {
	if l.config.ProgressNs <= 0 {
		return
	}
	l.nextProgressNs += ((nowNs-l.nextProgressNs)/l.config.ProgressNs + 1) * l.config.ProgressNs
	l.emit(SetTimer{AtNs: l.nextProgressNs, Timer: Timer{Kind: TimerProgress}})
}

// progress tells every follower how far the log has come.
func (l *Leader) progress(nowNs int64) {
	for _, target := range l.followers {
		if target != nil {
			l.emit(Send{Target: target.index, Envelope: &wire.Envelope{
				SchemaVersion: SchemaVersion,
				Kind:          wire.Kind_KIND_PROGRESS,
				Source:        l.config.Name,
				Sequence:      l.durable(),
				ClockNs:       nowNs,
			}})
		}
	}
	l.armProgress(nowNs)
}

// Status reads the present state.
func (l *Leader) Status() Status {
	outstanding, breakers := 0, make([]Breaker, 0, len(l.followers))
	acknowledged := make([]Acknowledged, 0, len(l.followers))
	for _, target := range l.followers {
		if target != nil {
			outstanding += len(target.outstanding)
			breakers = append(breakers, Breaker{target.name, target.breaker.state})
			acknowledged = append(acknowledged, Acknowledged{target.index, target.name, target.prefix})
		}
	}
	return Status{
		Mode:         l.mode,
		LastSequence: l.durable(),
		Prefix:       l.durable(),
		PrefixHash:   l.hashes[l.durable()],
		Keys:         len(l.cells),
		Outstanding:  outstanding,
		Breakers:     breakers,
		Acknowledged: acknowledged,
		IsNow:        true,
	}
}
