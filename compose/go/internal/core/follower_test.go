package core

import (
	"fmt"
	"math/rand"
	"reflect"
	"testing"

	"driftlab/replica/wire"
)

func updateFrame(sequence uint64, key string) *wire.Envelope {
	return &wire.Envelope{
		Kind: wire.Kind_KIND_UPDATE, Source: "leader", Sequence: sequence,
		IdempotencyToken: fmt.Sprint("t", sequence), Payload: payloadFor(key),
	}
}

// take receives an update and lets the disk finish if it was stored.
func (b *bench) take(sequence uint64, key string) {
	before := len(b.appended)
	b.run(b.machine.Receive(b.nowNs, updateFrame(sequence, key)))
	if len(b.appended) > before {
		b.run(b.machine.Committed(b.nowNs, 1))
	}
}

func (b *bench) eventText() string {
	text := ""
	for _, event := range b.events {
		text += fmt.Sprintf("%s:%d ", event.Name, event.Sequence)
	}
	return text
}

func TestFollowerAcknowledgesWhatIsDurable(t *testing.T) {
	b := newBench(t, testConfig("f1"))
	b.run(b.machine.Receive(b.nowNs, updateFrame(1, "k")))
	b.run(b.machine.Receive(b.nowNs, updateFrame(1, "k")))
	if len(b.sent)+len(b.events) != 0 || len(b.appended) != 1 {
		t.Fatalf("before the disk: %s %s", b.sentText(), b.eventText())
	}
	b.run(b.machine.Committed(b.nowNs, 1))
	b.want("both copies are answered", b.sentText(), "UPDATE_ACK>0:1/0 UPDATE_ACK>0:1/0 ")
	b.want("it is applied once", b.eventText(), "applied:1 ")
	b.wantCount(Duplicates, 1)
	b.take(1, "k")
	b.want("a later copy is answered too", b.sentText(), "UPDATE_ACK>0:1/0 ")
	b.want("and not applied", b.eventText(), "")
	b.wantCount(Duplicates, 2)
	b.wantCount(AcksSent, 3)
}

func TestSequenceOrderWaitsForTheGap(t *testing.T) {
	b := newBench(t, testConfig("f1"))
	b.take(2, "k")
	b.want("stored, not applied", b.sentText()+b.eventText(), "UPDATE_ACK>0:2/0 ")
	b.take(3, "k")
	status := b.machine.Status()
	if status.Waiting != 2 || status.Prefix != 0 || status.LastSequence != 3 {
		t.Errorf("%+v", status)
	}
	b.take(1, "k")
	b.want("in order", b.eventText(), "applied:1 applied:2 applied:3 ")
	// 2 and 1 were not next to the highest one; 3 was.
	b.wantCount(OutOfOrder, 2)
	if status := b.machine.Status(); status.Waiting != 0 || status.Prefix != 3 {
		t.Errorf("%+v", status)
	}
}

func TestKeyOrderAppliesAtOnce(t *testing.T) {
	config := testConfig("f1")
	config.Ordering = "key"
	b := newBench(t, config)
	b.take(3, "k")
	b.want("at once", b.eventText(), "applied:3 ")
	b.take(1, "k")
	b.want("too late", b.eventText(), "superseded:1 ")
	b.take(2, "other")
	b.want("another key", b.eventText(), "applied:2 ")
}

func TestBothOrderingsEndInTheSameState(t *testing.T) {
	digests := make(map[string]string)
	for seed := range 20 {
		for _, ordering := range []string{"sequence", "key"} {
			config := testConfig("f1")
			config.Ordering, config.QueueLimit = ordering, 1000
			b := newBench(t, config)
			for _, index := range rand.New(rand.NewSource(int64(seed))).Perm(100) {
				b.take(uint64(index)+1, fmt.Sprint(index%7))
			}
			status := b.machine.Status()
			digests[fmt.Sprint(DigestCells(b.machine.Cells()), status.PrefixHash)] = ordering
		}
	}
	if len(digests) != 1 {
		t.Errorf("%d different ends", len(digests))
	}
	b := newBench(t, testConfig("f1"))
	b.take(1, "something else")
	if _, found := digests[DigestCells(b.machine.Cells())]; found {
		t.Error("another state has the same digest")
	}
}

func TestReorderWindow(t *testing.T) {
	for _, ordering := range []string{"sequence", "key"} {
		config := testConfig("f1")
		config.Ordering = ordering
		b := newBench(t, config)
		b.take(4, "k")
		b.wantCount(ReorderFull, 0)
		b.sentText()
		b.take(5, "k")
		b.wantCount(ReorderFull, 1)
		b.want("no answer beyond the window", b.sentText(), "")
		b.take(1, "k")
		b.want("the next one is always taken", b.sentText(), "UPDATE_ACK>0:1/0 ")
		b.take(5, "k")
		b.wantCount(ReorderFull, 1)
		b.take(2, "k")
		b.take(3, "k")
		if prefix := b.machine.Status().Prefix; prefix != 5 {
			t.Errorf("%s: the prefix is %d", ordering, prefix)
		}
	}
}

func TestEntriesAtTheDiskAreNotBehindAGap(t *testing.T) {
	b := newBench(t, testConfig("f1"))
	for sequence := uint64(1); sequence <= 20; sequence++ {
		b.run(b.machine.Receive(b.nowNs, updateFrame(sequence, "k")))
	}
	b.wantCount(ReorderFull, 0)
	b.wantCount(OutOfOrder, 0)
	b.run(b.machine.Committed(b.nowNs, 20))
	if prefix := b.machine.Status().Prefix; prefix != 20 {
		t.Errorf("the prefix is %d", prefix)
	}
}

func TestDigestKeepsItsGrid(t *testing.T) {
	b := newBench(t, testConfig("f1"))
	start := b.nowNs
	b.run(b.machine.Start(b.nowNs))
	draw := Mix(Mix(b.machine.(*Follower).config.Seed, 0), uint64(b.machine.(*Follower).config.Index))
	phase := 1 + int64(draw%uint64(1000*millisecondNs))
	if b.timers[0].AtNs != start+phase {
		t.Errorf("the first digest is due at %d", b.timers[0].AtNs-start)
	}
	start += phase - 1000*millisecondNs
	timer := b.timers[0].Timer
	b.take(1, "k")
	b.run(b.machine.Expire(start+1001*millisecondNs, timer))
	sent := b.sent[0].Envelope
	if sent.GetKind() != wire.Kind_KIND_DIGEST || sent.GetSequence() != 1 ||
		sent.GetPrefixHash() != b.machine.Status().PrefixHash || sent.GetIncarnation() != 100 {
		t.Errorf("sent %v", sent)
	}
	if b.timers[0].AtNs != start+2000*millisecondNs {
		t.Errorf("the second digest is due at %d", b.timers[0].AtNs-start)
	}
	b.run(b.machine.Expire(start+1002*millisecondNs, timer))
	b.want("an early timer is stale", b.sentText(), "")
	b.run(b.machine.Expire(start+5500*millisecondNs, timer))
	if b.timers[0].AtNs != start+6000*millisecondNs {
		t.Errorf("missed digests are skipped, not %d", b.timers[0].AtNs-start)
	}
	b.wantCount(DigestsSent, 2)

	config := testConfig("f1")
	config.DigestNs = 0
	b = newBench(t, config)
	b.run(b.machine.Start(b.nowNs))
	if len(b.timers) != 0 {
		t.Error("0 means never")
	}
}

func TestFollowerRestartsFromItsLog(t *testing.T) {
	for _, ordering := range []string{"sequence", "key"} {
		config := testConfig("f1")
		config.Ordering = ordering
		before, after := newBench(t, config), newBench(t, config)
		for _, sequence := range []uint64{1, 2, 4, 5} {
			before.take(sequence, fmt.Sprint(sequence%2))
		}
		for _, entry := range before.appended {
			if err := after.machine.Restore(entry); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(before.machine.Status(), after.machine.Status()) ||
			DigestCells(before.machine.Cells()) != DigestCells(after.machine.Cells()) {
			t.Errorf("before %+v, after %+v", before.machine.Status(), after.machine.Status())
		}
		after.take(4, "0")
		after.wantCount(Duplicates, 1)
		after.take(3, "0")
		after.wantCount(Duplicates, 1)
		if prefix := after.machine.Status().Prefix; prefix != 5 {
			t.Errorf("the prefix is %d", prefix)
		}
	}
}

func TestFollowerRefusesWhatIsNotForIt(t *testing.T) {
	b := newBench(t, testConfig("f1"))
	b.write("a")
	b.wantCount(Rejected, 1)
	if b.replies[0].Envelope.GetKind() != wire.Kind_KIND_WRITE_REJECT {
		t.Errorf("reply %v", b.replies)
	}
	stranger := updateFrame(1, "k")
	stranger.Source = "f2"
	cut := updateFrame(1, "k")
	cut.Payload = cut.Payload[:2]
	for _, envelope := range []*wire.Envelope{stranger, cut, updateFrame(0, "k")} {
		b.run(b.machine.Receive(b.nowNs, envelope))
	}
	b.wantCount(Malformed, 3)
	if len(b.appended) != 0 {
		t.Error("something was stored")
	}
	b.take(1, "k")
	b.wantCount(Malformed, 3)
}
