package core

import (
	"fmt"
	"testing"
)

// expire lets the n-th timer of the last call run out.
func (b *bench) expire(number int) {
	b.t.Helper()
	if number >= len(b.timers) {
		b.t.Fatalf("there is no timer %d", number)
	}
	timer := b.timers[number]
	b.nowNs = timer.AtNs
	b.run(b.machine.Expire(b.nowNs, timer.Timer))
}

func TestRetryAfterTimeoutAndBackoff(t *testing.T) {
	b := newBench(t, testConfig("leader"))
	b.accept("a")
	start := b.nowNs
	b.expire(0)
	b.wantCount(Retries, 1)
	b.want("nothing during the wait", b.sentText(), "")
	b.expire(0)
	if b.nowNs != start+timeoutNs+waitNs {
		t.Errorf("the second attempt came after %d", b.nowNs-start)
	}
	b.want("second attempt", b.sentText(), "UPDATE>1:1/2 ")
	b.expire(0)
	b.expire(0)
	b.want("third attempt", b.sentText(), "UPDATE>1:1/3 ")
	if got := b.machine.Status().Outstanding; got != 2 {
		t.Errorf("%d outstanding", got)
	}
	b.expire(0)
	b.wantCount(Retries, 2)
	b.wantCount(Exhausted, 1)
	if got := b.machine.Status().Outstanding; got != 1 || len(b.timers) != 0 {
		t.Errorf("%d outstanding, timers %v", got, b.timers)
	}
}

func TestAcknowledgedUpdateIsNotRetried(t *testing.T) {
	b := newBench(t, testConfig("leader"))
	b.accept("a")
	timers := b.timers
	b.ack("f1", 1)
	b.run(b.machine.Expire(timers[0].AtNs, timers[0].Timer))
	b.wantCount(Retries, 0)
	// Acknowledged during the wait: the wait ends without another attempt.
	b.run(b.machine.Expire(timers[1].AtNs, timers[1].Timer))
	b.wantCount(Retries, 1)
	wait := b.timers[0]
	b.ack("f2", 1)
	b.run(b.machine.Expire(wait.AtNs, wait.Timer))
	b.want("sent", b.sentText(), "")
}

func TestStaleTimerIsHarmless(t *testing.T) {
	b := newBench(t, testConfig("leader"))
	b.accept("a")
	old := b.timers[0]
	b.expire(0)
	b.expire(0)
	b.run(b.machine.Expire(b.nowNs, old.Timer))
	b.wantCount(Retries, 1)
	if len(b.sent)+len(b.timers) != 0 {
		t.Error("an old timer did something")
	}
}

func TestBudgetDenial(t *testing.T) {
	config := testConfig("leader")
	config.Policy.BudgetPpm, config.QueueLimit = 0, 100
	b := newBench(t, config)
	var timers []SetTimer
	for index := range 6 {
		b.accept(fmt.Sprint(index))
		timers = append(timers, b.timers...)
	}
	for _, timer := range timers {
		b.run(b.machine.Expire(timer.AtNs, timer.Timer))
	}
	// The bucket starts with ten retries and earns none.
	b.wantCount(Retries, 10)
	b.wantCount(BudgetDenied, 2)
	if got := b.machine.Status().Outstanding; got != 10 {
		t.Errorf("%d outstanding", got)
	}
}

func TestBudgetEarns(t *testing.T) {
	budget := NewBudget(500_000)
	budget.level = 0
	budget.Earn()
	if budget.Spend() {
		t.Error("half a retry is not one")
	}
	budget.Earn()
	if !budget.Spend() || budget.Spend() {
		t.Error("two halves are one")
	}
	for range 1000 {
		budget.Earn()
	}
	if budget.level != budgetMax {
		t.Errorf("the bucket holds %d", budget.level)
	}
	unlimited := NewBudget(-1)
	for range 1000 {
		if !unlimited.Spend() {
			t.Fatal("no budget, no denial")
		}
	}
}

// grown is a leader with updates 1..count that are old enough to be repaired.
func grown(t *testing.T, count int) *bench {
	config := testConfig("leader")
	config.QueueLimit = 1000
	b := newBench(t, config)
	for index := range count {
		b.accept(fmt.Sprint(index))
	}
	b.nowNs += timeoutNs
	return b
}

func TestDigestIsRepaired(t *testing.T) {
	b := grown(t, 8)
	b.ack("f1", 4)
	b.digest("f1", 2, b.leader().hashes[2], 1)
	b.want("a batch of what is missing", b.sentText(), "REPAIR>1:3/0 REPAIR>1:5/0 REPAIR>1:6/0 ")
	b.want("the prefix counts", b.released(), "1 2 ")
	b.wantCount(Repairs, 3)
	if len(b.timers) != 0 {
		t.Error("a repair has no timeout")
	}
	b.ack("f1", 3)
	if got := b.leader().followers[1].prefix; got != 4 {
		t.Errorf("the prefix is %d", got)
	}
	b.digest("f1", 8, b.leader().hashes[8], 1)
	b.want("nothing is missing", b.sentText(), "")
}

func TestRecentUpdatesAreNotRepaired(t *testing.T) {
	b := grown(t, 2)
	b.accept("young")
	b.nowNs += timeoutNs - 1
	b.digest("f1", 0, 0, 1)
	b.want("old ones only", b.sentText(), "REPAIR>1:1/0 REPAIR>1:2/0 ")
	b.nowNs++
	b.digest("f1", 0, 0, 1)
	b.want("old enough now", b.sentText(), "REPAIR>1:1/0 REPAIR>1:2/0 REPAIR>1:3/0 ")
}

func TestDigestMismatch(t *testing.T) {
	b := grown(t, 3)
	b.digest("f1", 2, b.leader().hashes[2]+1, 1)
	b.wantCount(DigestMismatch, 1)
	b.digest("f1", 4, 0, 1)
	b.wantCount(DigestMismatch, 2)
	b.want("nothing counts", b.released()+b.sentText(), "")
	b.digest("f1", 2, b.leader().hashes[2], 1)
	b.wantCount(DigestMismatch, 2)
	b.want("a good one counts", b.released(), "1 2 ")
}

func TestLostStateIsForgotten(t *testing.T) {
	b := grown(t, 4)
	hashes := b.leader().hashes
	b.digest("f1", 4, hashes[4], 10)
	b.digest("f1", 1, hashes[1], 9)
	b.want("an older incarnation is ignored", b.sentText(), "")
	b.digest("f1", 1, hashes[1], 10)
	b.want("a late digest of the same incarnation forgets nothing", b.sentText(), "")
	b.digest("f1", 1, hashes[1], 11)
	b.want("a new one has lost state", b.sentText(),
		"REPAIR>1:2/0 REPAIR>1:3/0 REPAIR>1:4/0 ")
	if got := b.leader().followers[1].prefix; got != 1 {
		t.Errorf("the prefix is %d", got)
	}
}

func TestLeaderRestartsFromItsLog(t *testing.T) {
	b := grown(t, 3)
	config := testConfig("leader")
	again := newBench(t, config)
	for _, entry := range b.appended {
		if err := again.machine.Restore(entry); err != nil {
			t.Fatal(err)
		}
	}
	if err := again.machine.Restore(Entry{Sequence: 9}); err == nil {
		t.Error("a gap was accepted")
	}
	again.nowNs = b.nowNs
	again.run(again.machine.Start(again.nowNs))
	if event := again.events[0]; event.Prefix != 3 || event.Incarnation != 100 {
		t.Errorf("start %+v", event)
	}
	before, after := b.machine.Status(), again.machine.Status()
	if before.PrefixHash != after.PrefixHash || after.Outstanding != 0 ||
		DigestCells(b.machine.Cells()) != DigestCells(again.machine.Cells()) {
		t.Errorf("before %+v, after %+v", before, after)
	}
	again.write("1")
	again.wantCount(DuplicateRequests, 1)
	again.want("the token is known", again.sentText(), "UPDATE>1:2/1 UPDATE>2:2/1 ")
	again.digest("f2", 3, after.PrefixHash, 1)
	again.want("the digest brings it forward", again.released(), "1 2 3 ")
	if len(again.replies) != 1 {
		t.Errorf("%d replies", len(again.replies))
	}
	again.accept("new")
	if last := again.appended[len(again.appended)-1].Sequence; last != 4 {
		t.Errorf("the next sequence is %d", last)
	}
}
