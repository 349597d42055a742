package core

import "driftlab/replica/wire"

// held is an entry beyond the durable gapless prefix.
type held struct {
	entry   Entry
	word    uint64
	durable bool
	// acksOwed counts the copies that came while the entry was being stored; each is answered.
	acksOwed int
}

// Follower stores what the leader sends. It keeps in memory only the entries beyond its
// gapless prefix, and the newest update of each key.
type Follower struct {
	base
	leaderIndex int
	prefix      uint64
	prefixHash  uint64
	// receivedPrefix and receivedLast also count entries that are still being stored.
	receivedPrefix uint64
	receivedLast   uint64
	durableLast    uint64
	beyond         map[uint64]*held
	// durableBeyond counts the entries of beyond that are on disk.
	durableBeyond int
	// storing holds the sequences that are on their way to the disk, oldest first.
	storing      []uint64
	nextDigestNs int64
}

// NewFollower makes a follower with an empty log.
func NewFollower(config Config, counters *Counters) *Follower {
	return &Follower{
		base:        newBase(config, counters),
		leaderIndex: config.LeaderIndex(),
		beyond:      make(map[uint64]*held),
	}
}

// Restore takes over a stored entry. What it changes was reported in an earlier incarnation.
func (f *Follower) Restore(entry Entry) error {
	f.beyond[entry.Sequence] = &held{entry: entry, word: PayloadWord(entry.Payload)}
	f.received(entry.Sequence)
	f.settle(0, entry.Sequence, func(Emit) {})
	return nil
}

// Start opens this incarnation.
func (f *Follower) Start(nowNs int64) []Command {
	f.begin()
	f.emit(Emit{
		Name: "start", Incarnation: f.config.Incarnation, Prefix: f.prefix, TimeNs: nowNs,
	})
	if f.config.DigestNs > 0 {
		draw := Mix(Mix(f.config.Seed, 0), uint64(f.config.Index))
		f.nextDigestNs = nowNs + 1 + int64(draw%uint64(f.config.DigestNs)) - f.config.DigestNs
	}
	f.armDigest(nowNs)
	return f.out
}

// armDigest keeps digests on the grid that began at the start, whatever their own lateness.
func (f *Follower) armDigest(nowNs int64) {
	if f.config.DigestNs <= 0 {
		return
	}
	missed := (nowNs - f.nextDigestNs) / f.config.DigestNs
	f.nextDigestNs += (missed + 1) * f.config.DigestNs
	f.emit(SetTimer{AtNs: f.nextDigestNs, Timer: Timer{Kind: TimerDigest}})
}

// Expire sends the periodic digest.
func (f *Follower) Expire(nowNs int64, timer Timer) []Command {
	f.begin()
	if timer.Kind != TimerDigest || nowNs < f.nextDigestNs {
		return f.out
	}
	f.count(DigestsSent)
	f.emit(Send{Target: f.leaderIndex, Envelope: &wire.Envelope{
		SchemaVersion: SchemaVersion,
		Kind:          wire.Kind_KIND_DIGEST,
		Source:        f.config.Name,
		Sequence:      f.prefix,
		PrefixHash:    f.prefixHash,
		Incarnation:   f.config.Incarnation,
	}})
	f.armDigest(nowNs)
	return f.out
}

// Write refuses: only the leader accepts writes.
func (f *Follower) Write(nowNs int64, request WriteRequest) []Command {
	f.begin()
	f.reject(nowNs, request)
	return f.out
}

// Receive handles an update or a repair.
func (f *Follower) Receive(_ int64, envelope *wire.Envelope) []Command {
	f.begin()
	kind := envelope.GetKind()
	isUpdate := kind == wire.Kind_KIND_UPDATE || kind == wire.Kind_KIND_REPAIR
	entry, err := EntryFromEnvelope(envelope)
	if err != nil || !isUpdate || entry.Sequence == 0 ||
		envelope.GetSource() != f.config.Leader {
		f.count(Malformed)
		return f.out
	}
	known := f.beyond[entry.Sequence]
	if entry.Sequence <= f.prefix || known != nil {
		f.count(Duplicates)
		if known != nil && !known.durable {
			known.acksOwed++
		} else {
			f.acknowledge(&entry)
		}
		return f.out
	}
	if entry.Sequence > f.receivedPrefix+uint64(f.config.QueueLimit) {
		f.count(ReorderFull)
		return f.out
	}
	if entry.Sequence != f.receivedLast+1 {
		f.count(OutOfOrder)
	}
	stored := &held{entry: entry, word: PayloadWord(entry.Payload)}
	f.beyond[entry.Sequence] = stored
	f.storing = append(f.storing, entry.Sequence)
	f.received(entry.Sequence)
	f.emit(Append{Entry: &stored.entry})
	if f.config.Bug == BugEarlyAck {
		f.acknowledge(&stored.entry)
	}
	return f.out
}

// received counts an entry as part of the log from the moment its storing is ordered.
func (f *Follower) received(sequence uint64) {
	f.receivedLast = max(f.receivedLast, sequence)
	for f.beyond[f.receivedPrefix+1] != nil {
		f.receivedPrefix++
	}
}

// Committed acknowledges and applies what has become durable.
func (f *Follower) Committed(nowNs int64, count int) []Command {
	f.begin()
	for range count {
		sequence := f.storing[0]
		f.storing = f.storing[1:]
		stored := f.beyond[sequence]
		for range 1 + stored.acksOwed {
			f.acknowledge(&stored.entry)
		}
		f.settle(nowNs, sequence, func(event Emit) { f.emit(event) })
	}
	return f.out
}

// settle takes an entry that is on disk into the prefix, its hash and the state.
func (f *Follower) settle(nowNs int64, sequence uint64, report func(Emit)) {
	f.beyond[sequence].durable = true
	f.durableBeyond++
	f.durableLast = max(f.durableLast, sequence)
	if f.config.Ordering == "key" || f.config.Bug == BugAnyOrder {
		f.applyAndReport(nowNs, &f.beyond[sequence].entry, report)
	}
	for {
		next := f.beyond[f.prefix+1]
		if next == nil || !next.durable {
			return
		}
		f.prefix++
		f.prefixHash = ExtendHash(f.prefixHash, f.prefix, next.word)
		delete(f.beyond, f.prefix)
		f.durableBeyond--
		if f.config.Ordering == "sequence" && f.config.Bug != BugAnyOrder {
			f.applyAndReport(nowNs, &next.entry, report)
		}
	}
}

func (f *Follower) applyAndReport(nowNs int64, entry *Entry, report func(Emit)) {
	name := "applied"
	if f.config.Bug == BugAnyOrder {
		delete(f.cells, entry.Key)
	}
	if !f.apply(entry) {
		name = "superseded"
	}
	report(Emit{Name: name, Sequence: entry.Sequence, Token: entry.Token, TimeNs: nowNs})
}

// acknowledge tells the leader that an entry is durable here.
func (f *Follower) acknowledge(entry *Entry) {
	f.count(AcksSent)
	f.emit(Send{Target: f.leaderIndex, Envelope: &wire.Envelope{
		SchemaVersion:    SchemaVersion,
		Kind:             wire.Kind_KIND_UPDATE_ACK,
		Source:           f.config.Name,
		Sequence:         entry.Sequence,
		CorrelationId:    entry.CorrelationID,
		IdempotencyToken: entry.Token,
	}})
}

// SetMode notes the mode; releasing is the leader's business.
func (f *Follower) SetMode(nowNs int64, mode string) []Command {
	f.begin()
	f.mode = mode
	f.emit(Emit{Name: "mode", Mode: mode, TimeNs: nowNs})
	return f.out
}

// Status reads the present state.
func (f *Follower) Status() Status {
	return Status{
		Mode:         f.mode,
		LastSequence: f.durableLast,
		Prefix:       f.prefix,
		PrefixHash:   f.prefixHash,
		Keys:         len(f.cells),
		Waiting:      f.durableBeyond,
	}
}
