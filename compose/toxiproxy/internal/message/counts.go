package message

import "driftlab/toxiproxy/internal/fate"

// RowCounts says what happened to the frames that were read while one row was in force. At every instant, summed over
// the rows of a link,
//
//	frames + duplicated = delivered + lost + cut + queued + queue_dropped
//
// because a frame is one copy, a duplicated frame two, and lost, cut, delivered and reordered count copies.
type RowCounts struct {
	Row          int   `json:"row"`
	Frames       int64 `json:"frames"`
	Bytes        int64 `json:"bytes"` // headers included
	Lost         int64 `json:"lost"`
	Cut          int64 `json:"cut"`
	Duplicated   int64 `json:"duplicated"`
	Reordered    int64 `json:"reordered"`
	Delivered    int64 `json:"delivered"`      // handed to the connection
	DelayNSTotal int64 `json:"delay_ns_total"` // asked for, over the copies that are neither lost nor cut
	LateNSTotal  int64 `json:"late_ns_total"`  // release minus due time, over the delivered copies
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
	c.Reordered += decision.Reordered
	if decision.Second != fate.NoCopy {
		c.Duplicated++
	}
	delays := [2]int64{decision.First, decision.Second}
	for _, delayNS := range delays {
		switch {
		case delayNS == fate.CutOff:
			c.Cut++
		case delayNS == fate.Lost:
			c.Lost++
		case delayNS >= 0:
			c.DelayNSTotal += delayNS
		}
	}
	return delays
}
