package message

import (
	"encoding/json"
	"fmt"

	"driftlab/toxiproxy/internal/fate"
)

// RowCounts says what happened to the frames that were read while one row was in force. At every instant, summed over
// the rows of a link,
//
//	frames + duplicated = delivered + corrupted + lost + cut + overflow + queued + queue_dropped
//
// because a frame is one copy, a duplicated frame two, and all but frames, bytes and duplicated count copies.
type RowCounts struct {
	Row          int
	Frames       int64
	Bytes        int64 // headers included
	Lost         int64
	Cut          int64
	Duplicated   int64
	Reordered    int64
	Overflow     int64 // refused by the queue of a link of limited bandwidth
	Delivered    int64 // handed to the connection as they came
	Corrupted    int64 // handed to the connection as garbage
	DelayNSTotal int64 // asked for, over the copies that were to be handed on
	LateNSTotal  int64 // release minus due time, over the copies handed on
}

// CountColumns are the names of what a row counts, in the order in which it is written.
var CountColumns = []string{
	"frames", "bytes", "lost", "cut", "duplicated", "reordered", "overflow", "delivered", "corrupted", "delay_ns_total",
	"late_ns_total",
}

func (c *RowCounts) columns() []*int64 {
	return []*int64{
		&c.Frames, &c.Bytes, &c.Lost, &c.Cut, &c.Duplicated, &c.Reordered, &c.Overflow, &c.Delivered, &c.Corrupted,
		&c.DelayNSTotal, &c.LateNSTotal,
	}
}

// MarshalJSON writes a list of numbers: a link has a row for every set of faults that act at the same time, each switch
// is answered with all of them, and the names would be most of the answer.
func (c RowCounts) MarshalJSON() ([]byte, error) {
	return json.Marshal(c.columns())
}

// UnmarshalJSON reads what MarshalJSON wrote, but for the number of the row, which is the place in the list.
func (c *RowCounts) UnmarshalJSON(data []byte) error {
	var values []int64
	if err := json.Unmarshal(data, &values); err != nil {
		return err
	}
	columns := c.columns()
	if len(values) != len(columns) {
		return fmt.Errorf("a row has %d counts, not %d", len(columns), len(values))
	}
	for index, value := range values {
		*columns[index] = value
	}
	return nil
}

// LinkCounts are the totals of a link.
type LinkCounts struct {
	Malformed    int64 `json:"malformed"`     // connections closed for a length over 1 MiB
	Partial      int64 `json:"partial"`       // bytes of frames that were incomplete when their connection ended
	Connections  int64 `json:"connections"`   // opened so far, in the direction of the toxic
	Queued       int64 `json:"queued"`        // copies that wait for their release now
	QueueDropped int64 `json:"queue_dropped"` // copies given up: the queue was full, or the receiver was gone
}

// read counts a frame and its fate, and returns its copies' delays; a negative one is no copy to deliver.
func (c *RowCounts) read(frame []byte, decision fate.Decision) [2]int64 {
	c.Frames++
	c.Bytes += int64(len(frame))
	if decision.Second != fate.NoCopy {
		c.Duplicated++
	}
	delays := [2]int64{decision.First, decision.Second}
	for index, delayNS := range delays {
		switch {
		case delayNS == fate.CutOff:
			c.Cut++
		case delayNS == fate.Lost:
			c.Lost++
		case delayNS == fate.Overflowed:
			c.Overflow++
		case delayNS >= 0:
			c.DelayNSTotal += delayNS
			if decision.Reordered[index] && !decision.Corrupt[index] {
				c.Reordered++
			}
		}
	}
	return delays
}
