package message

import (
	"fmt"
	"math"
	"time"
)

// plannedLimit bounds the switches that wait for their time.
const plannedLimit = 64

// plannedSwitch is a row that comes into force by itself.
type plannedSwitch struct {
	row  int
	atNS int64 // on the clock of nowNS
}

// startMonotonicNS is CLOCK_MONOTONIC at start; 0 where processes share no clock.
var startMonotonicNS = monotonicNS() - int64(time.Since(start))

// plan notes a switch for a time of CLOCK_MONOTONIC; one that has passed is now. The caller holds the mutex.
func (t *Toxic) plan(row int, monotonic int64) error {
	switch {
	case startMonotonicNS <= 0:
		return fmt.Errorf("at_ns cannot be kept: there is no clock here that processes share")
	case len(t.planned) >= plannedLimit:
		return fmt.Errorf("more than %d switches are planned", plannedLimit)
	}
	atNS := max(monotonic-startMonotonicNS, nowNS())
	if len(t.planned) > 0 && atNS < t.planned[len(t.planned)-1].atNS {
		return fmt.Errorf("at_ns lies before that of a switch that is planned already")
	}
	t.planned = append(t.planned, plannedSwitch{row, atNS})
	return nil
}

// advance brings into force what was planned up to now. The caller holds the mutex.
func (t *Toxic) advance(now int64) {
	for len(t.planned) > 0 && t.planned[0].atNS <= now {
		t.row, t.rowNS = t.planned[0].row, startMonotonicNS+t.planned[0].atNS
		t.planned = t.planned[1:]
	}
}

// plans lists what is planned as (row, CLOCK_MONOTONIC).
func (t *Toxic) plans() [][2]int64 {
	found := make([][2]int64, len(t.planned))
	for index, each := range t.planned {
		found[index] = [2]int64{int64(each.row), startMonotonicNS + each.atNS}
	}
	return found
}

// checkPlan refuses a plan that asks for more than a switch of the row.
func checkPlan(asked *attributes) error {
	switch {
	case asked.at == nil:
		return nil
	case asked.row == nil:
		return fmt.Errorf("at_ns needs a row")
	case asked.key != nil || asked.rows != nil || asked.tables != nil || asked.recall.isAsked():
		return fmt.Errorf("at_ns goes with a row alone")
	case *asked.at < 0:
		return fmt.Errorf("at_ns must lie in 0..%d, not be %d", int64(math.MaxInt64), *asked.at)
	}
	return nil
}
