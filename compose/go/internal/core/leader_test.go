package core

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"driftlab/replica/wire"
)

const (
	millisecondNs = int64(1_000_000)
	timeoutNs     = 250 * millisecondNs
	waitNs        = 50 * millisecondNs
)

// payloadFor is a serialised Update of one key, with a field this schema does not know.
func payloadFor(key string) []byte {
	payload := protowire.AppendTag(nil, 1, protowire.BytesType)
	payload = protowire.AppendString(payload, key)
	payload = protowire.AppendTag(payload, 31, protowire.BytesType)
	return protowire.AppendString(payload, "later")
}

func testConfig(name string) Config {
	config := Config{
		Name: name, Leader: "leader", Replicas: []string{"leader", "f1", "f2"}, Seed: 7,
		Incarnation: 100, Mode: "quorum", Bound: 2, Ordering: "sequence",
		Policy: Policy{
			TimeoutNs: timeoutNs, Attempts: 3, Backoff: "fixed", BaseNs: waitNs,
			CapNs: 2_000 * millisecondNs, Jitter: "none", BudgetPpm: -1,
		},
		QueueLimit: 4, Overflow: "reject", DigestNs: 1000 * millisecondNs, RepairBatch: 3,
	}
	for index, replica := range config.Replicas {
		if replica == name {
			config.Index = index
		}
	}
	return config
}

// bench drives a machine and sorts what it orders.
type bench struct {
	t        *testing.T
	nowNs    int64
	machine  Machine
	counters *Counters
	appended []Entry
	sent     []Send
	replies  []Reply
	events   []Emit
	timers   []SetTimer
}

func newBench(t *testing.T, config Config) *bench {
	b := &bench{t: t, nowNs: 1000 * millisecondNs, counters: &Counters{}}
	b.machine = New(config, b.counters)
	return b
}

func (b *bench) run(commands []Command) {
	b.sent, b.replies, b.events, b.timers = nil, nil, nil, nil
	for _, command := range commands {
		switch order := command.(type) {
		case Append:
			b.appended = append(b.appended, *order.Entry)
		case Send:
			b.sent = append(b.sent, order)
		case Reply:
			b.replies = append(b.replies, order)
		case Emit:
			b.events = append(b.events, order)
		case SetTimer:
			b.timers = append(b.timers, order)
		}
	}
}

func (b *bench) write(token string) {
	b.run(b.machine.Write(b.nowNs, WriteRequest{
		Connection: 9, Token: token, CorrelationID: "c-" + token, Payload: payloadFor(token),
	}))
}

// accept writes and lets the disk finish.
func (b *bench) accept(token string) {
	b.t.Helper()
	before := len(b.appended)
	b.write(token)
	if len(b.appended) != before+1 {
		b.t.Fatalf("%s was not stored", token)
	}
	b.run(b.machine.Committed(b.nowNs, 1))
}

func (b *bench) ack(from string, sequence uint64) {
	b.run(b.machine.Receive(b.nowNs, &wire.Envelope{
		Kind: wire.Kind_KIND_UPDATE_ACK, Source: from, Sequence: sequence,
	}))
}

func (b *bench) digest(from string, prefix, hash, incarnation uint64) {
	b.run(b.machine.Receive(b.nowNs, &wire.Envelope{
		Kind: wire.Kind_KIND_DIGEST, Source: from, Sequence: prefix, PrefixHash: hash,
		Incarnation: incarnation,
	}))
}

// released lists the sequences that the last call released.
func (b *bench) released() string {
	text := ""
	for _, event := range b.events {
		if event.Name == "released" {
			text += fmt.Sprint(event.Sequence, " ")
		}
	}
	return text
}

func (b *bench) sentText() string {
	text := ""
	for _, send := range b.sent {
		text += fmt.Sprintf("%s>%d:%d/%d ", send.Envelope.GetKind().String()[5:], send.Target,
			send.Envelope.GetSequence(), send.Envelope.GetAttempt())
	}
	return text
}

func (b *bench) want(what, got, want string) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func (b *bench) wantCount(counter Counter, want uint64) {
	b.t.Helper()
	if got := b.counters.Get(counter); got != want {
		b.t.Errorf("%s: got %d, want %d", counter, got, want)
	}
}

func (b *bench) leader() *Leader { return b.machine.(*Leader) }

func TestNothingLeavesBeforeTheEntryIsDurable(t *testing.T) {
	b := newBench(t, testConfig("leader"))
	b.write("a")
	if len(b.appended) != 1 || len(b.sent)+len(b.events)+len(b.replies) != 0 {
		t.Fatalf("before the disk: %d sent, %d events, %d replies",
			len(b.sent), len(b.events), len(b.replies))
	}
	b.run(b.machine.Committed(b.nowNs, 1))
	b.want("sent", b.sentText(), "UPDATE>1:1/1 UPDATE>2:1/1 ")
	if len(b.events) != 2 || b.events[0].Name != "accepted" || b.events[1].Name != "applied" {
		t.Errorf("events %v", b.events)
	}
	entry := b.appended[0]
	if entry.Sequence != 1 || entry.TimestampNs != b.nowNs || entry.Origin != "leader" ||
		string(entry.Payload) != string(payloadFor("a")) || entry.Key != "a" {
		t.Errorf("stored %+v", entry)
	}
}

func TestReleaseByMode(t *testing.T) {
	for _, test := range []struct{ mode, atOnce, atOne, atTwo string }{
		{"async", "1 ", "", ""},
		{"quorum", "", "1 ", ""},
		{"sync", "", "", "1 "},
		{"bounded", "1 ", "", ""},
	} {
		config := testConfig("leader")
		config.Mode = test.mode
		b := newBench(t, config)
		b.accept("a")
		b.want(test.mode+" at 1 of 3", b.released(), test.atOnce)
		b.ack("f1", 1)
		b.want(test.mode+" at 2 of 3", b.released(), test.atOne)
		b.ack("f2", 1)
		b.want(test.mode+" at 3 of 3", b.released(), test.atTwo)
	}
}

func TestQuorumIsNotTheSameFollowerTwice(t *testing.T) {
	config := testConfig("leader")
	config.Replicas = []string{"leader", "f1", "f2", "f3", "f4"}
	b := newBench(t, config)
	b.accept("a")
	b.ack("f1", 1)
	b.ack("f1", 1)
	b.want("one follower twice", b.released(), "")
	b.ack("f4", 1)
	b.want("two followers", b.released(), "1 ")
}

func TestBoundedWaitsForTheSlowestFollower(t *testing.T) {
	config := testConfig("leader")
	config.Mode = "bounded"
	b := newBench(t, config)
	b.accept("a")
	b.accept("b")
	b.want("within the bound of two", b.released(), "2 ")
	b.accept("c")
	b.want("beyond the bound", b.released(), "")
	b.ack("f1", 1)
	b.want("one follower is not all", b.released(), "")
	b.ack("f2", 2)
	b.want("a gap is no prefix", b.released(), "")
	b.ack("f2", 1)
	b.want("the slowest has 1", b.released(), "3 ")
}

func TestModeSwitchReleasesPending(t *testing.T) {
	config := testConfig("leader")
	config.Mode = "sync"
	b := newBench(t, config)
	b.accept("a")
	b.accept("b")
	b.ack("f1", 2)
	b.run(b.machine.SetMode(b.nowNs, "sync"))
	b.want("the same mode", b.released(), "")
	b.run(b.machine.SetMode(b.nowNs, "quorum"))
	b.want("quorum", b.released(), "2 ")
	if len(b.replies) != 1 || b.replies[0].Connection != 9 {
		t.Errorf("replies %v", b.replies)
	}
	b.run(b.machine.SetMode(b.nowNs, "async"))
	b.want("async", b.released(), "1 ")
}

func TestTokenIsStoredOnce(t *testing.T) {
	b := newBench(t, testConfig("leader"))
	b.write("a")
	b.write("a")
	b.wantCount(DuplicateRequests, 1)
	if len(b.appended) != 1 || len(b.sent) != 0 {
		t.Fatalf("%d stored, %d sent", len(b.appended), len(b.sent))
	}
	b.run(b.machine.Committed(b.nowNs, 1))
	b.ack("f1", 1)
	if len(b.replies) != 2 {
		t.Errorf("both attempts get an answer, not %d", len(b.replies))
	}
	b.write("a")
	b.wantCount(DuplicateRequests, 2)
	if len(b.replies) != 1 || b.replies[0].Envelope.GetKind() != wire.Kind_KIND_WRITE_ACK ||
		len(b.sent) != 0 || b.released() != "" {
		t.Errorf("a released write is only answered: %v %v", b.replies, b.sentText())
	}
	b.accept("b")
	b.accept("c")
	if len(b.appended) != 3 {
		t.Errorf("different tokens are different updates")
	}
}

func TestRepeatedWriteStartsNewAttempts(t *testing.T) {
	config := testConfig("leader")
	config.Mode, config.Policy.Attempts = "sync", 1
	b := newBench(t, config)
	b.accept("a")
	timers := b.timers
	b.ack("f2", 1)
	b.write("a")
	b.want("an attempt is outstanding", b.sentText(), "")
	b.run(b.machine.Expire(timers[0].AtNs, timers[0].Timer))
	b.wantCount(Exhausted, 1)
	b.write("a")
	b.want("only who lacks it", b.sentText(), "UPDATE>1:1/1 ")
}

func TestRejectedAgainstDeferred(t *testing.T) {
	b := newBench(t, testConfig("leader"))
	for _, token := range []string{"a", "b", "c", "d"} {
		b.accept(token)
	}
	b.write("e")
	b.wantCount(Rejected, 1)
	if len(b.appended) != 4 || len(b.replies) != 1 || len(b.events) != 1 ||
		b.replies[0].Envelope.GetKind() != wire.Kind_KIND_WRITE_REJECT ||
		b.events[0].Name != "rejected" {
		t.Errorf("stored %d, replies %v, events %v", len(b.appended), b.replies, b.events)
	}
	b.ack("f1", 1)
	b.write("e")
	b.wantCount(Rejected, 2)
	b.ack("f2", 1)
	b.accept("e")
	b.wantCount(Rejected, 2)

	config := testConfig("leader")
	config.Overflow = "defer"
	b = newBench(t, config)
	for _, token := range []string{"a", "b", "c", "d"} {
		b.accept(token)
	}
	b.ack("f1", 1)
	b.accept("e")
	b.want("the full queue gets nothing", b.sentText(), "UPDATE>1:5/1 ")
	b.wantCount(Deferred, 1)
	b.wantCount(Rejected, 0)
}

func TestEntriesAtTheDiskFillTheQueue(t *testing.T) {
	b := newBench(t, testConfig("leader"))
	for _, token := range []string{"a", "b", "c", "d", "e"} {
		b.write(token)
	}
	b.wantCount(Rejected, 1)
	b.run(b.machine.Committed(b.nowNs, 4))
	if got := b.machine.Status().Outstanding; got != 8 {
		t.Errorf("%d attempts outstanding", got)
	}
}

func TestMalformedInputIsCounted(t *testing.T) {
	b := newBench(t, testConfig("leader"))
	b.run(b.machine.Write(1, WriteRequest{Token: "a", Payload: []byte{0x0a, 0x05, 'x'}}))
	b.run(b.machine.Write(1, WriteRequest{Payload: payloadFor("x")}))
	b.ack("stranger", 1)
	b.ack("f1", 1)
	b.run(b.machine.Receive(1, &wire.Envelope{Kind: wire.Kind_KIND_UPDATE, Source: "f1"}))
	b.wantCount(Malformed, 5)
	if len(b.appended) != 0 {
		t.Error("something was stored")
	}
	b.accept("a")
	b.ack("f1", 1)
	b.wantCount(Malformed, 5)
}
