package node

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"driftlab/replica/internal/core"
)

const (
	// reconnectEvery is the least time between two tries to open a connection.
	reconnectEvery = 20 * time.Millisecond
	dialTimeout    = time.Second
	// duplicateWord separates the draws of duplicates from all others.
	duplicateWord = 0x6475706c
)

// link is what leads to a peer: one long-lived connection, or one for every frame.
type link struct {
	*outbox
	name    string
	address string
	logger  *slog.Logger
	// overlooks is a seeded bug: the loss of the connection is not noticed.
	overlooks bool
	// pool is nil where the connection is long-lived.
	pool *pool
	// duplicateKey and number draw which frames are written twice; only the owner sends.
	duplicateKey uint64
	number       uint64
	duplicatePpm atomic.Int64
	// entryBytes is the size of the last entry offered, by which the room is judged.
	entryBytes int64
}

// newLink makes the link from a node to the replica with this index.
func (n *Node) newLink(index int, name, address string) *link {
	framesMax := queueFramesMax
	if n.bug == core.BugUnboundedQueue {
		framesMax = queueFramesBug
	}
	made := &link{
		outbox: newOutbox(n.counters, framesMax), name: name, address: address,
		logger: n.logger, overlooks: n.bug == core.BugLossOverlooked,
		duplicateKey: core.Mix(core.Mix(n.settings.Seed, duplicateWord), uint64(index)),
	}
	made.bytesMax = n.settings.Channel.MemoryBytes
	made.delays = n.metrics.enqueueDelay
	if rate := n.settings.Channel.BandwidthBytesPerS; rate > 0 {
		made.rate = &bucket{bytesPerS: rate}
	}
	if n.settings.Wire == "oneshot" {
		made.pool = newPool(n.settings.Pool)
	}
	return made
}

// send queues a frame; isEntry says whether it carries an entry of the changelog.
func (l *link) send(frame []byte, isEntry bool) {
	if isEntry {
		l.entryBytes = int64(len(frame))
	}
	l.number++
	ppm := uint64(l.duplicatePpm.Load())
	l.queue(queued{
		bytes: frame, atNs: monotonicNs(),
		twice: ppm > 0 && core.Scale(core.Mix(l.duplicateKey, l.number), 1_000_000) < ppm,
	})
}

// isConnected says whether a frame sent now would find a connection to the peer.
func (l *link) isConnected() bool {
	if l.pool != nil {
		return l.pool.any()
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.connected
}

// full says whether another entry would find no room behind those that are ahead of it.
func (l *link) full(ahead int) bool {
	waiting := l.waitingBytes.Load() + int64(ahead)*l.entryBytes
	return l.bytesMax > 0 && waiting > 0 && waiting+l.entryBytes > l.bytesMax
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
	if l.pool != nil {
		l.runOneshot(dialling, stop)
		return
	}
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
		case frame := <-l.frames:
			l.left(frame)
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
