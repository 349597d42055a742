package core

import "driftlab/replica/wire"

// held is an entry beyond the durable gapless prefix.
type held struct {
	entry   Entry
	word    uint64
	durable bool
	// acksOwed counts the copies that came until the entry was stored; each is answered.
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
	// storing holds what is on its way to the disk, oldest first.
	storing      []storing
	nextDigestNs int64
	// words holds what entered the prefix hash for sequence s at index s-1.
	words []uint64
	// correcting holds the sequences whose stored bytes are being put right.
	correcting map[uint64]struct{}
	known      freshness
}

// storing is one entry at the disk: a new one, or a correction of one that is there.
type storing struct {
	sequence   uint64
	correction *Entry
}

// NewFollower makes a follower with an empty log.
func NewFollower(config Config, counters *Counters) *Follower {
	return &Follower{
		base:        newBase(config, counters),
		leaderIndex: config.LeaderIndex(),
		beyond:      make(map[uint64]*held),
		correcting:  make(map[uint64]struct{}),
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

// Receive handles an update, a repair, or the news of how far the log has come.
func (f *Follower) Receive(_ int64, envelope *wire.Envelope) []Command {
	f.begin()
	kind := envelope.GetKind()
	if kind == wire.Kind_KIND_PROGRESS && envelope.GetSource() == f.config.Leader {
		f.known.tell(f.prefix, envelope.GetSequence(), envelope.GetClockNs())
		return f.out
	}
	isUpdate := kind == wire.Kind_KIND_UPDATE || kind == wire.Kind_KIND_REPAIR
	entry, err := EntryFromEnvelope(envelope)
	if err != nil || !isUpdate || entry.Sequence == 0 ||
		envelope.GetSource() != f.config.Leader {
		f.count(Malformed)
		f.emit(Ignore{})
		return f.out
	}
	known := f.beyond[entry.Sequence]
	if entry.Sequence <= f.prefix || known != nil {
		f.again(&entry, known)
		return f.out
	}
	if entry.Sequence > f.window() {
		f.count(ReorderFull)
		f.emit(Ignore{})
		return f.out
	}
	f.store(entry, 1)
	if f.config.Bug == BugEarlyAck {
		f.acknowledge(&entry)
	}
	return f.out
}

// window is the highest sequence that may wait behind a gap.
func (f *Follower) window() uint64 { return f.receivedPrefix + uint64(f.config.QueueLimit) }

// again handles an entry that is stored already, or is being stored.
func (f *Follower) again(entry *Entry, known *held) {
	f.count(Duplicates)
	if known != nil {
		known.entry.ClockNs = max(known.entry.ClockNs, entry.ClockNs)
	} else {
		f.known.tell(f.prefix, entry.Sequence, entry.ClockNs)
	}
	if known != nil && !known.durable {
		known.acksOwed++
		return
	}
	f.acknowledge(entry)
	if f.config.Bug == BugMergesAgain && known == nil {
		f.advance(PayloadWord(entry.Payload))
		f.receivedPrefix = max(f.receivedPrefix, f.prefix)
	}
}

// store orders the storing of an entry that is not there yet.
func (f *Follower) store(entry Entry, acksOwed int) {
	if entry.Sequence != f.receivedLast+1 {
		f.count(OutOfOrder)
	}
	stored := &held{entry: entry, word: PayloadWord(entry.Payload), acksOwed: acksOwed}
	f.beyond[entry.Sequence] = stored
	f.storing = append(f.storing, storing{sequence: entry.Sequence})
	f.received(entry.Sequence)
	f.emit(Append{Entry: &stored.entry})
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
	rehashFrom := uint64(0)
	for range count {
		next := f.storing[0]
		f.storing = f.storing[1:]
		if next.correction != nil {
			delete(f.correcting, next.sequence)
			rehashFrom = f.rewrite(nowNs, next.correction, rehashFrom)
			continue
		}
		stored := f.beyond[next.sequence]
		for range stored.acksOwed {
			f.acknowledge(&stored.entry)
		}
		f.settle(nowNs, next.sequence, func(event Emit) { f.emit(event) })
	}
	if rehashFrom > 0 {
		f.rehash()
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
		f.advance(next.word)
		delete(f.beyond, f.prefix)
		f.known.tell(f.prefix, f.prefix, next.entry.ClockNs)
		f.durableBeyond--
		if f.config.Ordering == "sequence" && f.config.Bug != BugAnyOrder {
			f.applyAndReport(nowNs, &next.entry, report)
		}
	}
}

// advance takes one more entry into the prefix and its hash.
func (f *Follower) advance(word uint64) {
	f.prefix++
	f.prefixHash = ExtendHash(f.prefixHash, f.prefix, word)
	f.words = append(f.words, word)
	f.known.reach(f.prefix)
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
		AsOfNs:       f.known.asOfNs,
	}
}
