package message

import "time"

// alarm wakes the loop of a connection at one instant. It may wake it when nothing is due; the loop then looks at the
// clock and arms it again.
type alarm interface {
	// arm replaces the instant that was set before.
	arm(delay time.Duration)
	fired() <-chan struct{}
	close()
}

// runtimeAlarm uses the timers of the Go runtime, which on Linux are up to 1 ms late in an idle process because the
// runtime waits in whole milliseconds. It serves where there is nothing better.
type runtimeAlarm struct {
	timer *time.Timer
	wake  chan struct{}
}

func newRuntimeAlarm() *runtimeAlarm {
	wake := make(chan struct{}, 1)
	timer := time.AfterFunc(time.Hour, func() { signal(wake) })
	timer.Stop()
	return &runtimeAlarm{timer: timer, wake: wake}
}

func (a *runtimeAlarm) arm(delay time.Duration) { a.timer.Reset(delay) }
func (a *runtimeAlarm) fired() <-chan struct{}  { return a.wake }
func (a *runtimeAlarm) close()                  { a.timer.Stop() }

// signal wakes whoever waits on a channel with room for one signal; a second signal before the first is seen is the same.
func signal(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
