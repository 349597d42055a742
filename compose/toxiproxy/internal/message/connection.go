package message

import (
	"bytes"
	"math"
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"

	"driftlab/toxiproxy/internal/fate"
)

const (
	// batchBytes bounds the frames that are released together: one copy buffer of the library.
	batchBytes = 32 << 10
	// stuckAfterNS ends a connection whose source has ended and whose receiver takes nothing for this long. The library
	// stops reading a link whose receiver is gone and does not tell its toxics, which would else wait for ever.
	stuckAfterNS = int64(5 * time.Second)

	endOfTime = math.MaxInt64
	never     = -1
)

// start is the origin of all instants: only the monotonic clock is used.
var start = time.Now()

func nowNS() int64 { return int64(time.Since(start)) }

// connection is the state of one connection. Only the goroutine that runs its stub touches it, or the library's while the
// stub is interrupted.
type connection struct {
	splitter splitter
	pending  queue
	sequence uint64

	// outgoing holds the frames of batch, due and composed, until the next stage takes them.
	outgoing        *stream.StreamChunk
	batch           []waiting
	outgoingSinceNS int64

	sourceEnded bool // no more input will come
	refused     bool // the stream was malformed: what still comes is discarded

	alarm    alarm
	alarmDue int64
}

func newConnection() *connection {
	return &connection{alarmDue: never}
}

// drained answers whether the connection has released all it will ever release.
func (c *connection) drained() bool {
	return (c.sourceEnded || c.refused) && c.outgoing == nil && len(c.pending.heap) == 0
}

func (c *connection) stuck(now int64) bool {
	return c.sourceEnded && c.outgoing != nil && now-c.outgoingSinceNS >= stuckAfterNS
}

// read takes the next bytes of the source, or its end (nil).
func (t *Toxic) read(c *connection, chunk *stream.StreamChunk) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if chunk == nil {
		c.sourceEnded = true
		t.totals.Partial += int64(len(c.splitter.partial))
		c.splitter.reset()
		return
	}
	if c.refused {
		return
	}
	// Delays count from the instant at which the bytes were read from the socket.
	readNS := int64(chunk.Timestamp.Sub(start))
	t.advance(readNS)
	err := c.splitter.push(chunk.Data, func(frame []byte) { t.decide(c, frame, readNS) })
	if err != nil {
		c.refused = true
		t.totals.Malformed++
		c.splitter.reset()
	}
}

// decide gives a frame its number and its fate and queues its copies. The caller holds the mutex, so a change of the row
// falls between two frames.
func (t *Toxic) decide(c *connection, frame []byte, readNS int64) {
	key := fate.MessageKey(t.key, t.number)
	t.number++
	decision := t.fateOf(frame, key, readNS)
	var kept []byte // a copy, because the frame may lie in a chunk that is mostly lost
	for index, delayNS := range t.counts[t.row].read(frame, decision) {
		if delayNS < 0 {
			continue
		}
		if len(c.pending.heap) >= queueLimitFrames || c.pending.bytes+len(frame) > queueLimitBytes {
			t.totals.QueueDropped++
			continue
		}
		entry := waiting{dueNS: readNS + delayNS, sequence: c.sequence, row: t.row}
		if entry.corrupt = decision.Corrupt[index]; entry.corrupt {
			entry.frame = damaged(frame)
		} else {
			if kept == nil {
				kept = bytes.Clone(frame)
			}
			entry.frame = kept
		}
		c.pending.push(entry)
		c.sequence++
		t.totals.Queued++
	}
}

// fateOf decides by the row in force and, where the link remembers something, by its extra.
func (t *Toxic) fateOf(frame []byte, key, readNS int64) fate.Decision {
	if len(t.extras) == 0 {
		return fate.Decide(&t.rows[t.row], t.tables, key)
	}
	extra := &t.extras[t.row]
	message := fate.Message{NowNS: readNS, SizeBytes: int64(len(frame))}
	if extra[fate.Rules] > 0 {
		message.Kind = kindOf(frame)
	}
	return fate.DecideRemembering(&t.rows[t.row], extra, t.leaves, t.tables, t.memory, key, message)
}

// compose puts the frames that are due into the next chunk to send, unless one is waiting already.
func (c *connection) compose(now int64) {
	if c.outgoing != nil {
		return
	}
	size := 0
	for len(c.pending.heap) > 0 && c.pending.heap[0].dueNS <= now {
		next := len(c.pending.heap[0].frame)
		if size > 0 && size+next > batchBytes {
			break
		}
		c.batch = append(c.batch, c.pending.pop())
		size += next
	}
	switch len(c.batch) {
	case 0:
		return
	case 1:
		c.outgoing = newChunk(c.batch[0].frame)
	default:
		joined := make([]byte, 0, size)
		for index := range c.batch {
			joined = append(joined, c.batch[index].frame...)
		}
		c.outgoing = newChunk(joined)
	}
	c.outgoingSinceNS = now
}

func newChunk(data []byte) *stream.StreamChunk {
	return &stream.StreamChunk{Data: data, Timestamp: time.Now()}
}

// released counts the frames of the chunk that the next stage has just taken.
func (t *Toxic) released(c *connection, now int64) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	for index := range c.batch {
		counts := &t.counts[c.batch[index].row]
		if c.batch[index].corrupt {
			counts.Corrupted++
		} else {
			counts.Delivered++
		}
		// A flush releases frames before they are due, which is no lateness.
		counts.LateNSTotal += max(now-c.batch[index].dueNS, 0)
	}
	t.totals.Queued -= int64(len(c.batch))
	c.forgetOutgoing()
}

func (c *connection) forgetOutgoing() {
	clear(c.batch)
	c.batch = c.batch[:0]
	c.outgoing = nil
}

// abandon gives up the copies that still wait.
func (t *Toxic) abandon(c *connection) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	dropped := int64(len(c.batch) + len(c.pending.heap))
	t.totals.Queued -= dropped
	t.totals.QueueDropped += dropped
	c.forgetOutgoing()
	c.pending = queue{}
}

// finish closes the connection's way out.
func (t *Toxic) finish(c *connection, stub *toxics.ToxicStub) {
	t.abandon(c)
	c.stopAlarm()
	stub.Close()
}

// discard reads what still comes on a closed connection, so that the stages before do not wait for ever.
func (c *connection) discard(stub *toxics.ToxicStub) {
	if c.sourceEnded {
		return
	}
	for range stub.Input {
	}
}

// wake returns a channel that says when to look at the clock again; nil where only other events matter.
func (c *connection) wake() <-chan struct{} {
	due := int64(never)
	switch {
	case c.outgoing == nil && len(c.pending.heap) > 0:
		due = c.pending.heap[0].dueNS
	case c.outgoing != nil && c.sourceEnded:
		due = c.outgoingSinceNS + stuckAfterNS
	}
	if due == never {
		return nil
	}
	if c.alarm == nil {
		c.alarm = newAlarm()
	}
	if due != c.alarmDue {
		c.alarm.arm(time.Duration(due - nowNS()))
		c.alarmDue = due
	}
	return c.alarm.fired()
}

func (c *connection) stopAlarm() {
	if c.alarm != nil {
		c.alarm.close()
		c.alarm = nil
		c.alarmDue = never
	}
}
