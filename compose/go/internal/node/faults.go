package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"driftlab/replica/internal/core"
)

// faults are what can be made worse inside a replica.
type faults struct {
	ClockOffsetNs int64 `json:"clock_offset_ns"`
	ClockDriftPpm int64 `json:"clock_drift_ppm"`
	ServiceNs     int64 `json:"service_ns"`
	FsyncNs       int64 `json:"fsync_ns"`
	// sinceNs is the moment from which the drift counts.
	sinceNs int64
}

const (
	offsetNsMax = int64(time.Hour)
	driftPpmMax = 100_000
	waitNsMax   = int64(10 * time.Second)
)

// skewNs is how far the wall clock is from the true one, and whether it may be.
func (f *faults) skewNs(nowNs int64) (int64, bool) {
	elapsedNs := nowNs - f.sinceNs
	// In two parts, so that the product stays within 64 bits.
	drift := elapsedNs/1_000_000*f.ClockDriftPpm + elapsedNs%1_000_000*f.ClockDriftPpm/1_000_000
	return f.ClockOffsetNs + drift, f.ClockOffsetNs != 0 || f.ClockDriftPpm != 0
}

// change reads a request and returns the faults with what it sets.
func (f faults) change(nowNs int64, wanted map[string]json.RawMessage) (faults, error) {
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		var place *int64
		least, most := int64(0), waitNsMax
		switch key {
		case "clock_offset_ns":
			place, least, most, f.sinceNs = &f.ClockOffsetNs, -offsetNsMax, offsetNsMax, nowNs
		case "clock_drift_ppm":
			place, least, most, f.sinceNs = &f.ClockDriftPpm, -driftPpmMax, driftPpmMax, nowNs
		case "service_ns":
			place = &f.ServiceNs
		case "fsync_ns":
			place = &f.FsyncNs
		default:
			return f, fmt.Errorf("unknown key %q", key)
		}
		if err := wholeNumber(wanted[key], least, most, place); err != nil {
			return f, fmt.Errorf("key %q %w", key, err)
		}
	}
	return f, nil
}

// wholeNumber reads a number within bounds. The decoder alone would take null for 0.
func wholeNumber(text json.RawMessage, least, most int64, into *int64) error {
	if bytes.Equal(text, []byte("null")) || json.Unmarshal(text, into) != nil {
		return fmt.Errorf("must be a whole number")
	}
	if *into < least || *into > most {
		return fmt.Errorf("must be %d to %d", least, most)
	}
	return nil
}

func (n *Node) postFaults(response http.ResponseWriter, request *http.Request) {
	var wanted map[string]json.RawMessage
	if !readBody(response, request, &wanted) {
		return
	}
	n.faultsMutex.Lock()
	defer n.faultsMutex.Unlock()
	changed, err := n.faults.Load().change(monotonicNs(), wanted)
	if err != nil {
		refuse(response, http.StatusBadRequest, err.Error())
		return
	}
	n.faults.Store(&changed)
	answer(response, http.StatusOK, &changed)
}

// pauseShort is waited for in the kernel: the runtime's own timers are too coarse for it.
const pauseShort = 2 * time.Millisecond

// pause waits, but no longer than until the node stops.
func (n *Node) pause(wait time.Duration) {
	untilNs := monotonicNs() + int64(wait)
	if wait > pauseShort {
		select {
		case <-time.After(wait - pauseShort):
		case <-n.closing:
			return
		}
	}
	until := unix.NsecToTimespec(untilNs)
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &until, nil) == unix.EINTR {
	}
}

// serveSlowly is where entries wait, one after the other, when the replica is slowed.
func (n *Node) serveSlowly() {
	serviceNs := n.faults.Load().ServiceNs
	if serviceNs == 0 {
		return
	}
	n.service.Lock()
	defer n.service.Unlock()
	n.counters.Add(core.Slowed, 1)
	n.pause(time.Duration(serviceNs))
}
