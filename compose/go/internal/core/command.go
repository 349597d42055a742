// Package core holds the decisions of a replica and nothing else: no clock, socket, disk or
// goroutine. A machine is told what happened and when, and answers with commands. Given the
// same calls it always gives the same commands.
package core

import "driftlab/replica/wire"

// Command is an order to whoever runs the machine.
type Command interface{ command() }

// Append orders an entry to be stored durably. Entries are stored in the order of these
// commands, and Committed is called once they are.
type Append struct{ Entry *Entry }

// Send orders a frame to the replica with this index.
type Send struct {
	Target   int
	Envelope *wire.Envelope
}

// Reply orders a frame to a client connection, which may be gone by now.
type Reply struct {
	Connection uint64
	Envelope   *wire.Envelope
}

// SetTimer orders a call of Expire at this time. Timers are never cancelled: one that has
// become pointless is recognised by its epoch.
type SetTimer struct {
	AtNs  int64
	Timer Timer
}

// Emit orders a line of the event log. Fields that an event does not have are zero.
type Emit struct {
	Name        string
	Sequence    uint64
	Token       string
	Mode        string
	Incarnation uint64
	Prefix      uint64
	TimeNs      int64
	// ClockNs is the entry's; it is no part of the line.
	ClockNs int64
}

// Ignore says that the frame just received has no consequences at all.
type Ignore struct{}

// TimedOut says that the attempt outstanding to a replica was not acknowledged in time.
type TimedOut struct {
	Target   int
	Sequence uint64
}

// Warn orders a line of the diagnostic log.
type Warn struct {
	Message       string
	Replica       string
	Sequence      uint64
	CorrelationID string
}

func (Ignore) command()   {}
func (TimedOut) command() {}
func (Append) command()   {}
func (Send) command()     {}
func (Reply) command()    {}
func (SetTimer) command() {}
func (Emit) command()     {}
func (Warn) command()     {}

// TimerKind says what a timer is for.
type TimerKind int

// The kinds of timers.
const (
	// TimerTimeout ends the wait for an acknowledgement.
	TimerTimeout TimerKind = iota
	// TimerBackoff ends the wait before the next attempt.
	TimerBackoff
	// TimerDigest starts the next digest.
	TimerDigest
	// TimerProgress starts the next telling of how far the log has come.
	TimerProgress
)

// Timer is handed back unchanged when it expires.
type Timer struct {
	Kind     TimerKind
	Follower int
	Sequence uint64
	Epoch    uint64
}

// WriteRequest is one attempt of a client.
type WriteRequest struct {
	Connection    uint64
	Token         string
	CorrelationID string
	Payload       []byte
	// SkewNs is how far the wall clock is from the true one; Skewed says whether it may be.
	SkewNs int64
	Skewed bool
	// Traceparent names the span of this attempt; empty where nothing is traced.
	Traceparent string
}

// Status is what a replica reports about itself.
type Status struct {
	Mode         string
	LastSequence uint64
	Prefix       uint64
	PrefixHash   uint64
	Keys         int
	Waiting      int
	Outstanding  int
	// Breakers has one entry for each follower; a follower has none.
	Breakers []Breaker
	// Acknowledged has the acknowledged prefix of each follower in their order; a follower has
	// none.
	Acknowledged []Acknowledged
	// AsOfNs is the latest moment up to which everything is known to be applied, 0 if there is
	// none; on the leader it is now.
	AsOfNs int64
	IsNow  bool
}

// Acknowledged is how far one follower is known to be.
type Acknowledged struct {
	Index    int
	Follower string
	Prefix   uint64
}

// Corrections says what became of the entries of a correction.
type Corrections struct {
	Stored    int `json:"stored"`
	Corrected int `json:"corrected"`
	Unchanged int `json:"unchanged"`
}

// Breaker is the state of one follower's circuit breaker.
type Breaker struct {
	Follower string
	State    BreakerState
}

// Machine is a leader or a follower. The returned commands are valid until the next call.
type Machine interface {
	// Restore takes over one stored entry. Calls come before Start, by ascending sequence.
	Restore(entry Entry) error
	// Start opens this incarnation.
	Start(nowNs int64) []Command
	// Write handles a client's request.
	Write(nowNs int64, request WriteRequest) []Command
	// Receive handles a frame of another replica.
	Receive(nowNs int64, envelope *wire.Envelope) []Command
	// Committed says that the oldest count entries not yet reported are durable.
	Committed(nowNs int64, count int) []Command
	// Expire says that a timer's time has come.
	Expire(nowNs int64, timer Timer) []Command
	// SetMode switches the replication mode.
	SetMode(nowNs int64, mode string) []Command
	// Status reads the present state.
	Status() Status
	// Cells copies the applied state, in no order.
	Cells() []Cell
	// Read looks up one key.
	Read(key string) (Cell, bool)
	// Merkle reads one node of the tree over the applied state.
	Merkle(path []int) MerkleNode
	// Correct takes over entries that are known to be right. What it stores is reported by
	// Committed like anything else. A leader needs no correction and does nothing.
	Correct(nowNs int64, entries []Entry) ([]Command, Corrections)
}

// Config is what a machine needs to know.
type Config struct {
	Name        string
	Index       int
	Leader      string
	Replicas    []string
	Seed        uint64
	Incarnation uint64
	Mode        string
	Bound       uint64
	Ordering    string
	Policy      Policy
	QueueLimit  int
	Overflow    string
	DigestNs    int64
	RepairBatch int
	ProgressNs  int64
	// ChannelFull says whether the channel to a replica has no room for another entry after so
	// many that are ahead of it and not queued yet; nil is never. It is an input of Write and
	// Committed.
	ChannelFull func(target, ahead int) bool
	// Bug is a defect to show on purpose.
	Bug Bug
}

// LeaderIndex is the leader's place among the replicas.
func (c *Config) LeaderIndex() int {
	for index, name := range c.Replicas {
		if name == c.Leader {
			return index
		}
	}
	return -1
}

// ValidMode says whether this is the name of a replication mode.
func ValidMode(mode string) bool {
	switch mode {
	case "async", "quorum", "sync", "bounded":
		return true
	}
	return false
}

// New makes the machine that the configuration asks for.
func New(config Config, counters *Counters) Machine {
	if config.Name == config.Leader {
		return NewLeader(config, counters)
	}
	return NewFollower(config, counters)
}

// base is what leader and follower share: the applied state and the outbox.
type base struct {
	config   Config
	counters *Counters
	mode     string
	cells    map[string]Cell
	// tree is nil until it is first asked for.
	tree *tree
	out  []Command
}

func newBase(config Config, counters *Counters) base {
	return base{
		config: config, counters: counters, mode: config.Mode, cells: make(map[string]Cell),
	}
}

// begin empties the outbox; every call of a machine starts with it.
func (b *base) begin() { b.out = b.out[:0] }

func (b *base) emit(command Command) { b.out = append(b.out, command) }

func (b *base) count(counter Counter) { b.counters.Add(counter, 1) }

// apply puts an update into its key unless the key already holds a higher sequence.
func (b *base) apply(entry *Entry) bool {
	held, found := b.cells[entry.Key]
	if found && held.Sequence > entry.Sequence {
		return false
	}
	if found && b.config.Bug == BugClockWins && held.TimestampNs >= entry.TimestampNs {
		return false
	}
	b.put(entry)
	return true
}

// put makes an update the one that its key holds.
func (b *base) put(entry *Entry) {
	b.cells[entry.Key] = Cell{
		Key: entry.Key, Sequence: entry.Sequence, Payload: entry.Payload,
		TimestampNs: entry.TimestampNs,
	}
	if b.tree != nil {
		b.tree.touch(entry.Key)
	}
}

// Read looks up one key.
func (b *base) Read(key string) (Cell, bool) {
	cell, found := b.cells[key]
	return cell, found
}

// Cells copies the applied state, in no order.
func (b *base) Cells() []Cell {
	cells := make([]Cell, 0, len(b.cells))
	for _, cell := range b.cells {
		cell.Sequence = b.config.Bug.Number(cell.Sequence)
		cells = append(cells, cell)
	}
	return cells
}

// answer is a frame to a client about one of its attempts.
func (b *base) answer(kind wire.Kind, connection uint64, correlationID string, entry *Entry) {
	b.emit(Reply{Connection: connection, Envelope: &wire.Envelope{
		SchemaVersion:    SchemaVersion,
		Kind:             kind,
		Source:           b.config.Name,
		Sequence:         entry.Sequence,
		Origin:           entry.Origin,
		TimestampNs:      entry.TimestampNs,
		CorrelationId:    correlationID,
		IdempotencyToken: entry.Token,
	}})
}

// reject refuses a write before anything is stored.
func (b *base) reject(nowNs int64, request WriteRequest) {
	b.count(Rejected)
	b.emit(Emit{Name: "rejected", Token: request.Token, TimeNs: nowNs})
	b.answer(wire.Kind_KIND_WRITE_REJECT, request.Connection, request.CorrelationID,
		&Entry{Token: request.Token})
}
