package node

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"driftlab/replica/internal/core"
)

const (
	// queueFramesMax bounds the frames that wait for one connection.
	queueFramesMax = 4096
	// queueFramesBug is the bound of a queue that, by a seeded bug, has none worth the name.
	queueFramesBug = 1 << 20
	// batchBytesMax bounds how much of a queue goes out in one write.
	batchBytesMax = 64 << 10
	// goodbyeTimeout bounds the last write to a connection when the replica stops.
	goodbyeTimeout = 200 * time.Millisecond
)

// queued is a frame that waits for its turn.
type queued struct {
	bytes []byte
	atNs  int64
	// twice says that the frame is to be written on two connections.
	twice bool
}

// outbox is the queue of frames for one connection and whether there is one.
type outbox struct {
	counters *core.Counters
	frames   chan queued
	// bytesMax bounds the bytes that wait, 0 does not; rate is nil where none is set, and so is
	// delays where nobody wants to know how long frames wait.
	bytesMax int64
	rate     *bucket
	delays   prometheus.Observer
	// waitingFrames and waitingBytes also hold what is out of the queue and not yet written.
	waitingFrames, waitingBytes atomic.Int64
	// mutex makes "connected, so queued" one step, and "disconnected, so dropped" another: a
	// frame queued for a lost connection must not leave on the next one.
	mutex     sync.Mutex
	connected bool
}

func newOutbox(counters *core.Counters, framesMax int) *outbox {
	return &outbox{counters: counters, frames: make(chan queued, framesMax)}
}

// offer queues a frame, or counts why it could not.
func (o *outbox) offer(frame []byte) { o.queue(queued{bytes: frame, atNs: monotonicNs()}) }

func (o *outbox) queue(frame queued) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if !o.connected {
		o.counters.Add(core.Unsent, 1)
		return
	}
	size := int64(len(frame.bytes))
	if o.bytesMax > 0 && o.waitingBytes.Load()+size > o.bytesMax {
		o.counters.Add(core.SendQueueFull, 1)
		return
	}
	o.waitingFrames.Add(1)
	o.waitingBytes.Add(size)
	select {
	case o.frames <- frame:
	default:
		o.left(frame)
		o.counters.Add(core.SendQueueFull, 1)
	}
}

// left notes that a frame does not wait any more, whatever became of it.
func (o *outbox) left(frames ...queued) {
	for _, frame := range frames {
		o.waitingFrames.Add(-1)
		o.waitingBytes.Add(-int64(len(frame.bytes)))
	}
}

// written notes that frames are handed to the kernel.
func (o *outbox) written(frames ...queued) {
	o.left(frames...)
	if o.delays == nil {
		return
	}
	nowNs := monotonicNs()
	for _, frame := range frames {
		o.delays.Observe(float64(nowNs-frame.atNs) / 1e9)
	}
}

func (o *outbox) open() {
	o.mutex.Lock()
	o.connected = true
	o.mutex.Unlock()
}

// shut drops what is queued. lost is what was already taken out of the queue in vain.
func (o *outbox) shut(lost int) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.connected = false
	o.counters.Add(core.Unsent, uint64(lost+len(o.frames)))
	for len(o.frames) > 0 {
		o.left(<-o.frames)
	}
}

// pump writes queued frames until the connection breaks, its other end closes it, or the
// replica stops; then it writes what is left. It returns the number of frames it lost.
func (o *outbox) pump(connection net.Conn, gone, stop <-chan struct{}) int {
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-stop:
			// This also ends a write that is stuck because the other end does not read.
			connection.SetWriteDeadline(time.Now().Add(goodbyeTimeout))
		case <-done:
		}
	}()
	sending := &batch{}
	for {
		sending.clear()
		select {
		case frame := <-o.frames:
			sending.add(frame)
			if o.rate == nil {
				o.gather(sending)
			} else if !o.rate.hold(len(frame.bytes), o.counters, gone, stop) {
				o.left(frame)
				return 1
			}
			if lost := o.write(connection, sending); lost > 0 {
				return lost
			}
		case <-gone:
			return 0
		case <-stop:
			o.gather(sending)
			return o.write(connection, sending)
		}
	}
}

// write writes a batch and returns the number of frames it lost.
func (o *outbox) write(connection net.Conn, sending *batch) int {
	if _, err := connection.Write(sending.bytes); err != nil {
		o.left(sending.frames...)
		return len(sending.frames)
	}
	o.written(sending.frames...)
	return 0
}

// gather takes queued frames as far as there are some, so that a burst costs one write.
func (o *outbox) gather(sending *batch) {
	for len(sending.bytes) < batchBytesMax {
		select {
		case frame := <-o.frames:
			sending.add(frame)
		default:
			return
		}
	}
}

// batch is what goes out in one write.
type batch struct {
	bytes  []byte
	frames []queued
}

func (b *batch) clear() { b.bytes, b.frames = b.bytes[:0], b.frames[:0] }

func (b *batch) add(frame queued) {
	b.bytes = append(b.bytes, frame.bytes...)
	b.frames = append(b.frames, frame)
}
