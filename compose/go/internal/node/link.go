package node

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"driftlab/replica/internal/core"
)

const (
	// queueFramesMax bounds the frames that wait for one connection.
	queueFramesMax = 4096
	// queueFramesBug is the bound of a queue that, by a seeded bug, has none worth the name.
	queueFramesBug = 1 << 20
	// reconnectEvery is the least time between two tries to open a connection.
	reconnectEvery = 20 * time.Millisecond
	dialTimeout    = time.Second
	// batchBytesMax bounds how much of a queue goes out in one write.
	batchBytesMax = 64 << 10
	// goodbyeTimeout bounds the last write to a connection when the replica stops.
	goodbyeTimeout = 200 * time.Millisecond
)

// outbox is the queue of frames for one connection and whether there is one.
type outbox struct {
	counters *core.Counters
	frames   chan []byte
	// mutex makes "connected, so queued" one step, and "disconnected, so dropped" another: a
	// frame queued for a lost connection must not leave on the next one.
	mutex     sync.Mutex
	connected bool
}

func newOutbox(counters *core.Counters, framesMax int) *outbox {
	return &outbox{counters: counters, frames: make(chan []byte, framesMax)}
}

// offer queues a frame, or counts why it could not.
func (o *outbox) offer(frame []byte) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if !o.connected {
		o.counters.Add(core.Unsent, 1)
		return
	}
	select {
	case o.frames <- frame:
	default:
		o.counters.Add(core.SendQueueFull, 1)
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
		<-o.frames
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
	var batch []byte
	for {
		select {
		case frame := <-o.frames:
			var count int
			batch, count = o.gather(append(batch[:0], frame...))
			if _, err := connection.Write(batch); err != nil {
				return count
			}
		case <-gone:
			return 0
		case <-stop:
			batch, count := o.gather(batch[:0])
			if _, err := connection.Write(batch); err != nil {
				return count
			}
			return 0
		}
	}
}

// gather appends queued frames as far as there are some, so that a burst costs one write.
func (o *outbox) gather(batch []byte) ([]byte, int) {
	count := 0
	if len(batch) > 0 {
		count = 1
	}
	for len(batch) < batchBytesMax {
		select {
		case frame := <-o.frames:
			batch = append(batch, frame...)
			count++
		default:
			return batch, count
		}
	}
	return batch, count
}

// link is the one long-lived connection to a peer.
type link struct {
	*outbox
	name    string
	address string
	logger  *slog.Logger
	// overlooks is a seeded bug: the loss of the connection is not noticed.
	overlooks bool
}

// run keeps the link open until stop closes.
func (l *link) run(stop <-chan struct{}) {
	dialling, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-stop:
			cancel()
		case <-dialling.Done():
		}
	}()
	for {
		tried := time.Now()
		if connection, err := l.dial(dialling); err == nil {
			l.serve(connection, stop)
			if l.overlooks {
				l.discard(stop)
			}
		} else {
			l.logger.Debug("no connection to the peer", "peer", l.name, "error", err)
		}
		select {
		case <-stop:
			return
		case <-time.After(time.Until(tried.Add(reconnectEvery))):
		}
	}
}

// discard takes frames into the void until stop closes.
func (l *link) discard(stop <-chan struct{}) {
	l.open()
	for {
		select {
		case <-l.frames:
		case <-stop:
			return
		}
	}
}

func (l *link) dial(dialling context.Context) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	// A TCP connection made by this package has TCP_NODELAY on from the start.
	return dialer.DialContext(dialling, "tcp", l.address)
}

func (l *link) serve(connection net.Conn, stop <-chan struct{}) {
	defer connection.Close()
	l.logger.Info("connected to the peer", "peer", l.name)
	gone := make(chan struct{})
	go func() {
		// Nothing is ever sent back on a link; reading notices that the other end closed it.
		io.Copy(io.Discard, connection)
		close(gone)
	}()
	l.open()
	l.shut(l.pump(connection, gone, stop))
	l.logger.Info("disconnected from the peer", "peer", l.name)
}
