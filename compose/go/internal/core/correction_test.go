package core

import (
	"fmt"
	"testing"

	"driftlab/replica/wire"
)

func entryOf(sequence uint64, key, more string) Entry {
	return Entry{
		Sequence: sequence, TimestampNs: int64(sequence), Token: fmt.Sprint("t", sequence), Key: key,
		Payload: append(payloadFor(key), more...),
	}
}

// correct hands over entries and lets the disk finish.
func (b *bench) correct(entries ...Entry) Corrections {
	b.t.Helper()
	before := len(b.appended)
	commands, done := b.machine.Correct(b.nowNs, entries)
	b.run(commands)
	if stored := len(b.appended) - before; stored > 0 {
		b.run(b.machine.Committed(b.nowNs, stored))
	}
	return done
}

func TestCorrectionStoresWhatIsMissing(t *testing.T) {
	b := newBench(t, testConfig("f1"))
	b.take(1, "k")
	if done := b.correct(entryOf(2, "k", ""), entryOf(2, "k", "")); done != (Corrections{1, 0, 1}) {
		t.Errorf("%+v", done)
	}
	b.want("it is applied", b.eventText(), "applied:2 ")
	b.want("nobody is told", b.sentText(), "")
	if done := b.correct(entryOf(100, "k", "")); done != (Corrections{0, 0, 1}) {
		t.Errorf("beyond the window: %+v", done)
	}
	// Behind a gap it is stored; put right it cannot be, for it has no row yet.
	if done := b.correct(entryOf(4, "j", ""), entryOf(4, "j", "")); done != (Corrections{1, 0, 1}) {
		t.Errorf("%+v", done)
	}
	if done := b.correct(entryOf(4, "j", "")); done != (Corrections{0, 0, 1}) {
		t.Errorf("behind the gap: %+v", done)
	}
	b.wantCount(Duplicates, 0)
	b.wantCount(OutOfOrder, 1)
	b.wantCount(Corrected, 0)
}

func TestCorrectionPutsTheRowRight(t *testing.T) {
	config := testConfig("f1")
	config.Bug = BugAnyOrder
	b := newBench(t, config)
	b.take(2, "k")
	b.take(1, "k")
	if cell, _ := b.machine.Read("k"); cell.Sequence != 1 {
		t.Fatalf("the seeded bug is not there: %+v", cell)
	}
	appended := len(b.appended)
	right := entryOf(2, "k", "")
	if done := b.correct(right); done != (Corrections{0, 1, 0}) || len(b.appended) != appended {
		t.Errorf("%+v, %d stored", done, len(b.appended)-appended)
	}
	b.want("it is told", b.eventText(), "corrected:2 ")
	b.wantCount(Corrected, 1)
	if done := b.correct(right); done != (Corrections{0, 0, 1}) {
		t.Errorf("once more: %+v", done)
	}
	if cell, _ := b.machine.Read("k"); cell.Sequence != 2 {
		t.Errorf("%+v", cell)
	}
}

func TestCorrectionOfTheLogGivesItsHash(t *testing.T) {
	wrong, right := newBench(t, testConfig("f1")), newBench(t, testConfig("f1"))
	for _, b := range []*bench{wrong, right} {
		b.take(1, "a")
		entry := entryOf(2, "k", "")
		if b == wrong {
			entry = entryOf(2, "k", "\xfa\x01\x01x")
		}
		b.correct(entry)
		b.take(3, "b")
	}
	want := right.machine.Status().PrefixHash
	if wrong.machine.Status().PrefixHash == want {
		t.Fatal("the logs are the same")
	}
	if done := wrong.correct(entryOf(2, "k", ""), entryOf(2, "k", "")); done != (Corrections{0, 1, 1}) {
		t.Errorf("%+v", done)
	}
	wrong.want("it is told once it is durable", wrong.eventText(), "corrected:2 ")
	if got := wrong.machine.Status().PrefixHash; got != want {
		t.Errorf("hash %d, want %d", got, want)
	}
	if last := wrong.appended[len(wrong.appended)-1]; last.Sequence != 2 {
		t.Errorf("stored %d", last.Sequence)
	}
}

func TestLeaderIsNotCorrected(t *testing.T) {
	b := newBench(t, testConfig("leader"))
	if done := b.correct(entryOf(1, "k", "")); done != (Corrections{0, 0, 1}) || len(b.appended) > 0 {
		t.Errorf("%+v", done)
	}
}

func TestFreshness(t *testing.T) {
	b := newBench(t, testConfig("f1"))
	tell := func(sequence uint64, clockNs int64) {
		b.run(b.machine.Receive(b.nowNs, &wire.Envelope{
			Kind: wire.Kind_KIND_PROGRESS, Source: "leader", Sequence: sequence, ClockNs: clockNs,
		}))
	}
	want := func(what string, asOfNs int64) {
		t.Helper()
		if got := b.machine.Status().AsOfNs; got != asOfNs {
			t.Errorf("%s: %d, want %d", what, got, asOfNs)
		}
	}
	want("nothing is known", 0)
	tell(0, 5)
	want("an empty log", 5)
	tell(2, 20)
	tell(1, 12)
	want("both are ahead", 5)
	b.take(2, "k")
	want("behind a gap", 5)
	b.take(1, "k")
	want("all is applied", 20)
	tell(2, 15)
	want("old news", 20)
	frame := updateFrame(3, "k")
	frame.ClockNs = 30
	b.run(b.machine.Receive(b.nowNs, frame))
	want("not durable yet", 20)
	b.run(b.machine.Committed(b.nowNs, 1))
	want("an entry says when it was accepted", 30)
	for sequence := range uint64(2 * pairsMax) {
		tell(10+sequence, 1000)
	}
	if ahead := b.machine.(*Follower).known.ahead; len(ahead) != pairsMax {
		t.Errorf("%d pairs are kept", len(ahead))
	}
	b.wantCount(Malformed, 0)
}

func TestProgressIsToldOnAGrid(t *testing.T) {
	config := testConfig("leader")
	config.ProgressNs = 100
	b := newBench(t, config)
	startNs := b.nowNs
	b.run(b.machine.Start(startNs))
	if len(b.timers) != 1 || b.timers[0].AtNs != startNs+100 {
		t.Fatalf("timers %+v", b.timers)
	}
	b.run(b.machine.Expire(startNs+250, b.timers[0].Timer))
	if len(b.sent) != 2 || b.sent[0].Envelope.GetClockNs() != startNs+250 ||
		b.timers[0].AtNs != startNs+300 {
		t.Errorf("sent %+v, timers %+v", b.sent, b.timers)
	}
}

func TestSkewReachesTheTimestampAlone(t *testing.T) {
	b := newBench(t, testConfig("leader"))
	b.run(b.machine.Write(b.nowNs, WriteRequest{
		Token: "a", Payload: payloadFor("k"), SkewNs: -7, Skewed: true,
	}))
	if entry := b.appended[0]; entry.TimestampNs != b.nowNs-7 || entry.ClockNs != b.nowNs {
		t.Errorf("%+v", entry)
	}
	b.wantCount(Skewed, 1)
}

func TestFullChannelFillsTheQueue(t *testing.T) {
	for _, overflow := range []string{"reject", "defer"} {
		config := testConfig("leader")
		config.Overflow = overflow
		config.ChannelFull = func(target, _ int) bool { return target == 2 }
		b := newBench(t, config)
		b.run(b.machine.Write(b.nowNs, WriteRequest{Token: "a", Payload: payloadFor("k")}))
		if overflow == "reject" {
			b.wantCount(Rejected, 1)
			continue
		}
		b.run(b.machine.Committed(b.nowNs, 1))
		b.want("the other follower gets it", b.sentText(), "UPDATE>1:1/1 ")
		b.wantCount(Deferred, 1)
	}
}

func TestSeededClock(t *testing.T) {
	for _, bug := range []Bug{"", BugClockWins} {
		config := testConfig("f1")
		config.Bug = bug
		b := newBench(t, config)
		first, second := updateFrame(1, "k"), updateFrame(2, "k")
		first.TimestampNs, second.TimestampNs = 10, 5
		for _, frame := range []*wire.Envelope{first, second} {
			b.run(b.machine.Receive(b.nowNs, frame))
			b.run(b.machine.Committed(b.nowNs, 1))
		}
		if cell, _ := b.machine.Read("k"); (cell.Sequence == 2) != (bug == "") {
			t.Errorf("%q: %+v", bug, cell)
		}
	}
}

func TestSeededMergeAndMemory(t *testing.T) {
	config := testConfig("f1")
	config.Bug = BugMergesAgain
	b := newBench(t, config)
	b.take(1, "k")
	b.take(1, "k")
	if status := b.machine.Status(); status.Prefix != 2 {
		t.Errorf("%+v", status)
	}
	b.take(2, "k")
	b.take(5, "k")
	b.take(3, "k")
	config = testConfig("leader")
	config.Bug = BugTokenForgotten
	b = newBench(t, config)
	for _, laterNs := range []int64{0, tokenMemoryNs, tokenMemoryNs + 1} {
		commands := b.machine.Write(b.nowNs+laterNs, WriteRequest{Token: "a", Payload: payloadFor("k")})
		b.run(commands)
	}
	if len(b.appended) != 2 {
		t.Errorf("stored %d times", len(b.appended))
	}
}
