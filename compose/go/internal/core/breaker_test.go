package core

import (
	"fmt"
	"testing"
)

const openNs = 1000 * millisecondNs

// breakerBench is a leader with one follower, whose breaker opens after two timeouts in a row.
func breakerBench(t *testing.T, change func(*Config)) *bench {
	config := testConfig("leader")
	config.Replicas = []string{"leader", "f1"}
	config.Policy.BreakerFailures, config.Policy.BreakerOpenNs = 2, openNs
	config.QueueLimit, config.RepairBatch = 100, 10
	if change != nil {
		change(&config)
	}
	return newBench(t, config)
}

func (b *bench) wantBreaker(want BreakerState) {
	b.t.Helper()
	breakers := b.machine.Status().Breakers
	if len(breakers) != 1 || breakers[0] != (Breaker{"f1", want}) {
		b.t.Errorf("breakers %v, want %s", breakers, want)
	}
}

// timeOut accepts a write and lets its first attempt time out.
func (b *bench) timeOut(token string) {
	b.t.Helper()
	b.accept(token)
	b.expire(0)
}

func TestBreakerOpensAfterTimeoutsInARow(t *testing.T) {
	b := breakerBench(t, nil)
	b.timeOut("a")
	b.wantBreaker(BreakerClosed)
	wait := b.timers[0]
	b.timeOut("b")
	b.wantBreaker(BreakerOpen)
	b.wantCount(BreakerOpened, 1)
	b.wantCount(BreakerRejected, 1)
	b.wantCount(Retries, 1)
	if len(b.timers) != 0 {
		t.Errorf("the series that opened it goes on: %v", b.timers)
	}
	b.nowNs = wait.AtNs
	b.run(b.machine.Expire(b.nowNs, wait.Timer))
	b.want("a retry", b.sentText(), "")
	b.accept("c")
	b.want("a first attempt", b.sentText(), "")
	b.wantCount(BreakerRejected, 3)
	if got := b.machine.Status().Outstanding; got != 0 {
		t.Errorf("%d outstanding", got)
	}
}

func TestAnAcknowledgementEndsTheRow(t *testing.T) {
	b := breakerBench(t, nil)
	b.timeOut("a")
	b.ack("f1", 1)
	b.timeOut("b")
	b.wantBreaker(BreakerClosed)
	b.timeOut("c")
	b.wantBreaker(BreakerOpen)
}

func TestHalfOpenLetsOneAttemptThrough(t *testing.T) {
	for _, success := range []bool{true, false} {
		t.Run(fmt.Sprint(success), func(t *testing.T) {
			b := breakerBench(t, nil)
			b.timeOut("a")
			b.timeOut("b")
			b.nowNs += openNs - 1
			b.accept("c")
			b.want("a moment too early", b.sentText(), "")
			b.nowNs++
			b.accept("d")
			b.want("the probe", b.sentText(), "UPDATE>1:4/1 ")
			timeout := b.timers[0]
			b.wantBreaker(BreakerHalfOpen)
			b.accept("e")
			b.want("behind the probe", b.sentText(), "")
			if success {
				b.ack("f1", 4)
				b.wantBreaker(BreakerClosed)
				b.accept("f")
				b.want("closed again", b.sentText(), "UPDATE>1:6/1 ")
				return
			}
			b.nowNs = timeout.AtNs
			b.run(b.machine.Expire(b.nowNs, timeout.Timer))
			b.wantBreaker(BreakerOpen)
			b.wantCount(BreakerOpened, 2)
			b.nowNs += openNs - 1
			b.accept("f")
			b.want("the pause begins anew", b.sentText(), "")
			b.nowNs++
			b.accept("g")
			b.want("the next probe", b.sentText(), "UPDATE>1:7/1 ")
		})
	}
}

func TestOnlyTheProbesTimeoutOpensAHalfOpenBreaker(t *testing.T) {
	b := breakerBench(t, func(config *Config) { config.Policy.BreakerOpenNs = 1 })
	b.timeOut("a")
	b.accept("old")
	old := b.timers[0]
	b.timeOut("b")
	b.wantBreaker(BreakerOpen)
	b.nowNs++
	b.accept("probe")
	b.run(b.machine.Expire(old.AtNs, old.Timer))
	b.wantBreaker(BreakerHalfOpen)
	b.wantCount(BreakerOpened, 1)
}

func TestADigestThatAcknowledgesClosesAHalfOpenBreaker(t *testing.T) {
	b := breakerBench(t, nil)
	b.timeOut("a")
	b.timeOut("b")
	b.digest("f1", 1, b.leader().hashes[1], 1)
	b.wantBreaker(BreakerOpen)
	b.want("reconciliation goes on", b.sentText(), "REPAIR>1:2/0 ")
	b.nowNs += openNs
	b.accept("c")
	b.digest("f1", 1, b.leader().hashes[1], 1)
	b.wantBreaker(BreakerHalfOpen)
	b.digest("f1", 3, b.leader().hashes[3], 1)
	b.wantBreaker(BreakerClosed)
}

func TestWithoutABreakerNothingIsHeldBack(t *testing.T) {
	b := breakerBench(t, func(config *Config) { config.Policy.BreakerFailures = 0 })
	for number := range 50 {
		b.timeOut(fmt.Sprint(number))
	}
	b.wantBreaker(BreakerClosed)
	b.wantCount(BreakerRejected, 0)
	b.wantCount(Retries, 50)
}
