package node

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"driftlab/replica/internal/core"
)

const (
	// diallersMax bounds the connections that are being opened to one peer.
	diallersMax = 4
	// oneshotTimeout bounds the writing of one frame: the next ones wait behind it.
	oneshotTimeout = time.Second
)

// pool holds connections dialled ahead; each carries one frame at most.
type pool struct {
	mutex sync.Mutex
	ready []net.Conn
	// wanted holds one token for each connection that is neither ready nor being opened.
	wanted chan struct{}
}

func newPool(size int) *pool {
	made := &pool{wanted: make(chan struct{}, size)}
	for range size {
		made.wanted <- struct{}{}
	}
	return made
}

// put adds a connection and watches it: one that its other end closes is replaced.
func (p *pool) put(connection net.Conn) {
	p.mutex.Lock()
	p.ready = append(p.ready, connection)
	p.mutex.Unlock()
	go func() {
		io.Copy(io.Discard, connection)
		if p.remove(connection) {
			connection.Close()
			p.wanted <- struct{}{}
		}
	}()
}

func (p *pool) remove(connection net.Conn) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	at := slices.Index(p.ready, connection)
	if at < 0 {
		return false
	}
	p.ready = slices.Delete(p.ready, at, at+1)
	return true
}

// any says whether a connection is ready.
func (p *pool) any() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return len(p.ready) > 0
}

// take gives away the oldest connection, or nil.
func (p *pool) take() net.Conn {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if len(p.ready) == 0 {
		return nil
	}
	oldest := p.ready[0]
	p.ready = slices.Delete(p.ready, 0, 1)
	p.wanted <- struct{}{}
	return oldest
}

func (p *pool) close() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, connection := range p.ready {
		connection.Close()
	}
}

// runOneshot writes every frame on a connection of its own until stop closes.
func (l *link) runOneshot(dialling context.Context, stop <-chan struct{}) {
	var diallers sync.WaitGroup
	for range min(diallersMax, cap(l.pool.wanted)) {
		diallers.Go(func() { l.dialAhead(dialling) })
	}
	l.open()
	for running := true; running; {
		select {
		case frame := <-l.frames:
			if l.rate != nil {
				l.rate.hold(len(frame.bytes), l.counters, nil, stop)
			}
			l.post(frame)
		case <-stop:
			running = false
		}
	}
	for len(l.frames) > 0 {
		l.post(<-l.frames)
	}
	l.shut(0)
	diallers.Wait()
	l.pool.close()
}

// post writes one frame, and its copy where there is to be one.
func (l *link) post(frame queued) {
	if l.writeOnce(frame.bytes) {
		l.written(frame)
	} else {
		l.left(frame)
	}
	if frame.twice && l.writeOnce(frame.bytes) {
		l.counters.Add(core.Duplicated, 1)
	}
}

// writeOnce writes a frame on a connection of its own, or counts that it could not.
func (l *link) writeOnce(frame []byte) bool {
	if connection := l.pool.take(); connection != nil {
		defer connection.Close()
		connection.SetWriteDeadline(time.Now().Add(oneshotTimeout))
		if _, err := connection.Write(frame); err == nil {
			return true
		}
	}
	l.counters.Add(core.Unsent, 1)
	return false
}

// dialAhead keeps the pool filled until dialling ends.
func (l *link) dialAhead(dialling context.Context) {
	for {
		select {
		case <-l.pool.wanted:
		case <-dialling.Done():
			return
		}
		for {
			tried := time.Now()
			connection, err := l.dial(dialling)
			if err == nil {
				l.pool.put(connection)
				break
			}
			l.logger.Debug("no connection to the peer", "peer", l.name, "error", err)
			select {
			case <-dialling.Done():
				return
			case <-time.After(time.Until(tried.Add(reconnectEvery))):
			}
		}
	}
}
