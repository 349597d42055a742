package message

import "driftlab/toxiproxy/internal/fate"

// RowCounts says what happened to the frames that were read while one row was in force. At every instant, summed over
// the rows of a link,
//
//	frames + duplicated = delivered + corrupted + lost + cut + overflow + queued + queue_dropped
//
// because a frame is one copy, a duplicated frame two, and all but frames, bytes and duplicated count copies.
type RowCounts struct {
	Row          int   `json:"row"`
	Frames       int64 `json:"frames"`
	Bytes        int64 `json:"bytes"` // headers included
	Lost         int64 `json:"lost"`
	Cut          int64 `json:"cut"`
	Duplicated   int64 `json:"duplicated"`
	Reordered    int64 `json:"reordered"`
	Overflow     int64 `json:"overflow"`       // refused by the queue of a link of limited bandwidth
	Delivered    int64 `json:"delivered"`      // handed to the connection as they came
	Corrupted    int64 `json:"corrupted"`      // handed to the connection as garbage
	DelayNSTotal int64 `json:"delay_ns_total"` // asked for, over the copies that were to be handed on
	LateNSTotal  int64 `json:"late_ns_total"`  // release minus due time, over the copies handed on
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
