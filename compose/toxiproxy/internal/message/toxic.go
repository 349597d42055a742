// Package message provides the toxic "message": it finds the frames in a TCP stream and loses, duplicates, delays and
// reorders them by keyed draws, so that two runs with the same key and the same frames meet the same luck.
package message

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/Shopify/toxiproxy/v2/toxics"

	"driftlab/toxiproxy/internal/fate"
)

// TypeName is the toxic's type in the HTTP API.
const TypeName = "message"

const (
	// The queue of a connection is bounded in frames and in bytes; what comes beyond is dropped and counted.
	queueLimitFrames = 65_536
	queueLimitBytes  = 256 << 20
	// flushTimeout bounds the wait for a receiver that does not read while the toxic is being removed.
	flushTimeout = 5 * time.Second
)

// Toxic is one link: the settings and the counts that its connections share. The library makes it by reflection, so its
// zero value must work: it is a link that does nothing.
type Toxic struct {
	mutex   sync.Mutex
	key     int64
	tables  []fate.Table
	rows    []fate.Row
	extras  []fate.Extra // as many as rows, or none where the link remembers nothing
	leaves  []fate.Behaviour
	memory  []int64 // shared by all connections; only new extras, leaves or another size clear it
	row     int
	rowNS   int64           // CLOCK_MONOTONIC of the last switch of the row
	planned []plannedSwitch // by time
	set     bool            // attributes have been accepted at least once
	number  int64           // of the next frame; it goes on over reconnects and over all connections
	counts  []RowCounts     // by row; it never shrinks
	totals  LinkCounts
}

// Register makes the toxic known to the library.
func Register() {
	toxics.Register(TypeName, new(Toxic))
}

// NewState is called once for each connection.
func (t *Toxic) NewState() interface{} {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.prepare()
	t.totals.Connections++
	return newConnection()
}

// prepare turns the zero value into a link with one clean row. The caller holds the mutex.
func (t *Toxic) prepare() {
	if len(t.rows) == 0 {
		t.rows = []fate.Row{fate.CleanRow}
	}
	for row := len(t.counts); row < len(t.rows); row++ {
		t.counts = append(t.counts, RowCounts{Row: row})
	}
}

// Pipe runs one connection until it ends or is interrupted. Nothing is lost by an interruption: all that is waiting is
// kept in the stub's state, where the next call finds it.
func (t *Toxic) Pipe(stub *toxics.ToxicStub) {
	c := stub.State.(*connection)
	for {
		now := nowNS()
		c.compose(now)
		if c.drained() || c.stuck(now) {
			t.finish(c, stub)
			c.discard(stub)
			return
		}
		input, output := stub.Input, stub.Output
		if c.sourceEnded {
			input = nil
		}
		if c.outgoing == nil {
			output = nil
		}
		// Every wait includes the interrupt: the library holds the link's lock until the interrupt is taken, and a
		// receiver that does not read must not block the control calls.
		select {
		case <-stub.Interrupt:
			return
		case chunk := <-input:
			t.read(c, chunk)
		case output <- c.outgoing:
			t.released(c, nowNS())
		case <-c.wake():
			c.alarmDue = never // whatever it was set for, it must be set anew
		}
	}
}

// Cleanup releases what is waiting, in order and at once, before the toxic is taken off a live connection.
func (t *Toxic) Cleanup(stub *toxics.ToxicStub) {
	c := stub.State.(*connection)
	for c.compose(endOfTime); c.outgoing != nil; c.compose(endOfTime) {
		if err := stub.WriteOutput(c.outgoing, flushTimeout); err != nil {
			break // what is left is counted as dropped
		}
		t.released(c, 0)
	}
	if c.sourceEnded || c.refused {
		t.finish(c, stub)
		go c.discard(stub)
		return
	}
	// The frame whose end is still to come goes on without the toxic.
	if len(c.splitter.partial) > 0 {
		_ = stub.WriteOutput(newChunk(c.splitter.partial), flushTimeout)
		c.splitter.reset()
	}
	t.abandon(c)
	c.stopAlarm()
}

// MarshalJSON answers the settings, without the tables and what the memory holds, and the counts.
func (t *Toxic) MarshalJSON() ([]byte, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.prepare()
	t.advance(nowNS())
	return json.Marshal(struct {
		Key         int64        `json:"key"`
		Row         int          `json:"row"`
		SwitchedNS  int64        `json:"switched_ns"`
		Planned     [][2]int64   `json:"planned"`
		Rows        []fate.Row   `json:"rows"`
		Extras      []fate.Extra `json:"extras,omitempty"`
		Leaves      [][]int64    `json:"leaves,omitempty"`
		MemoryWords int          `json:"memory_words,omitempty"`
		TableCount  int          `json:"table_count"`
		Columns     []string     `json:"count_columns"`
		Counts      []RowCounts  `json:"counts"`
		LinkCounts
	}{
		t.key, t.row, t.rowNS, t.plans(), t.rows, t.extras, leafLists(t.leaves), len(t.memory), len(t.tables), CountColumns, t.counts,
		t.totals,
	})
}
