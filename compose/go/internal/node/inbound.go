package node

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"driftlab/replica/internal/core"
	"driftlab/replica/internal/frame"
	"driftlab/replica/wire"
)

// connectionsMax bounds the open connections of one listener.
const connectionsMax = 1024

const readBufferBytes = 32 << 10

// acceptor serves the connections of one listener.
type acceptor struct {
	node     *Node
	listener net.Listener
	serve    func(net.Conn)
	mutex    sync.Mutex
	open     map[net.Conn]struct{}
	refusing bool
	serving  sync.WaitGroup
}

func (n *Node) newAcceptor(listener net.Listener, serve func(net.Conn)) *acceptor {
	return &acceptor{
		node: n, listener: listener, serve: serve, open: make(map[net.Conn]struct{}),
	}
}

func (a *acceptor) run() {
	for {
		connection, err := a.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			a.node.logger.Warn("a connection could not be accepted", "error", err)
			continue
		}
		if !a.admit(connection) {
			a.node.logger.Warn("a connection was refused", "limit", connectionsMax)
			connection.Close()
			continue
		}
		go func() {
			a.serve(connection)
			connection.Close()
			a.mutex.Lock()
			delete(a.open, connection)
			a.mutex.Unlock()
			a.serving.Done()
		}()
	}
}

func (a *acceptor) admit(connection net.Conn) bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.refusing || len(a.open) >= connectionsMax {
		return false
	}
	a.open[connection] = struct{}{}
	a.serving.Add(1)
	return true
}

// refuse admits no more connections.
func (a *acceptor) refuse() {
	a.mutex.Lock()
	a.refusing = true
	a.mutex.Unlock()
}

// hangUp closes every connection.
func (a *acceptor) hangUp() {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for connection := range a.open {
		connection.Close()
	}
}

// readFrames hands over envelopes until the stream ends or breaks.
func (n *Node) readFrames(connection net.Conn, take func(*wire.Envelope)) {
	reader := bufio.NewReaderSize(connection, readBufferBytes)
	for {
		envelope, err := frame.Read(reader)
		if errors.Is(err, frame.ErrMalformed) || errors.Is(err, frame.ErrTooLarge) {
			n.counters.Add(core.Malformed, 1)
			n.logger.Warn("a frame was refused",
				"remote", connection.RemoteAddr().String(), "error", err)
		}
		if errors.Is(err, frame.ErrPartial) {
			n.counters.Add(core.PartialFrames, 1)
		}
		if err == nil {
			take(envelope)
		} else if !errors.Is(err, frame.ErrMalformed) {
			if !errors.Is(err, io.EOF) {
				n.logger.Debug("a connection broke", "error", err)
			}
			return
		}
	}
}

// servePeer reads another replica's frames. Nothing is sent back on the same connection.
func (n *Node) servePeer(connection net.Conn) {
	n.readFrames(connection, func(envelope *wire.Envelope) {
		read := time.Now()
		if carriesEntry(envelope) && !n.isLeader() {
			n.serveSlowly()
		}
		n.post(input{peer: envelope, read: read})
	})
}

// client is a connection on which writes are answered.
type client struct {
	*outbox
	id uint64
}

// serveClient reads writes, and answers them as they are released.
func (n *Node) serveClient(connection net.Conn) {
	// Answers that find their client gone are dropped without being counted.
	served := &client{outbox: newOutbox(&core.Counters{}, queueFramesMax), id: n.lastClient.Add(1)}
	gone, pumped := make(chan struct{}), make(chan struct{})
	served.open()
	go func() {
		defer close(pumped)
		served.shut(served.pump(connection, gone, n.goodbye))
		connection.Close()
	}()
	n.readFrames(connection, func(envelope *wire.Envelope) {
		if envelope.GetKind() != wire.Kind_KIND_WRITE {
			n.counters.Add(core.Malformed, 1)
			return
		}
		n.post(input{write: envelope, client: served, read: time.Now()})
	})
	n.post(input{client: served})
	close(gone)
	<-pumped
}
