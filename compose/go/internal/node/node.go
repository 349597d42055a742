// Package node runs a state machine: it owns the sockets, the clock, the disk and the
// goroutines that the machine knows nothing of.
package node

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"driftlab/replica/internal/core"
	"driftlab/replica/internal/settings"
	"driftlab/replica/internal/store"
)

// Options is what a node is started with.
type Options struct {
	Settings *settings.Settings
	Version  string
	// Events receives the event log; writes to it must not be buffered.
	Events io.Writer
	Logger *slog.Logger
	// Bug is a defect to show on purpose.
	Bug core.Bug
	// Listeners replaces the addresses of the settings where it is not nil.
	Listeners *Listeners
}

// Listeners are the three open listeners of a replica.
type Listeners struct{ Peer, Client, Control net.Listener }

// Listen opens the three listeners.
func Listen(addresses settings.Listen) (*Listeners, error) {
	opened := &Listeners{}
	for _, each := range []struct {
		target  *net.Listener
		address string
	}{
		{&opened.Peer, addresses.Peer},
		{&opened.Client, addresses.Client},
		{&opened.Control, addresses.Control},
	} {
		listener, err := net.Listen("tcp", each.address)
		if err != nil {
			opened.Close()
			return nil, err
		}
		*each.target = listener
	}
	return opened, nil
}

// Close closes the listeners that are open.
func (l *Listeners) Close() {
	for _, listener := range []net.Listener{l.Peer, l.Client, l.Control} {
		if listener != nil {
			listener.Close()
		}
	}
}

// Node is a running replica.
type Node struct {
	settings    *settings.Settings
	version     string
	bug         core.Bug
	logger      *slog.Logger
	counters    *core.Counters
	incarnation uint64
	store       *store.Store
	listeners   *Listeners
	peers       *acceptor
	clients     *acceptor
	control     *http.Server
	lastClient  atomic.Uint64
	metrics     *metrics
	owner       *owner
	// faults are set over the control interface, one request after the other.
	faults      atomic.Pointer[faults]
	faultsMutex sync.Mutex
	// service is held by the entry that a slowed replica is busy with.
	service sync.Mutex

	inbox chan input
	// failed carries the reason why the node cannot go on.
	failed chan error
	// closing ends the owner and whoever waits for it; goodbye ends the writers after it.
	closing chan struct{}
	goodbye chan struct{}
	owned   chan struct{}
	writers sync.WaitGroup
	once    sync.Once
}

// Start opens the store, replays it and serves.
func Start(options Options) (*Node, error) {
	n := &Node{
		settings: options.Settings, version: options.Version, logger: options.Logger,
		bug:      options.Bug,
		counters: &core.Counters{},
		metrics:  newMetrics(),
		inbox:    make(chan input, inboxMax),
		failed:   make(chan error, 1),
		closing:  make(chan struct{}),
		goodbye:  make(chan struct{}),
		owned:    make(chan struct{}),
	}
	n.faults.Store(&faults{})
	if err := n.open(options); err != nil {
		return nil, err
	}
	n.owner.start()
	n.peers = n.newAcceptor(n.listeners.Peer, n.servePeer)
	n.clients = n.newAcceptor(n.listeners.Client, n.serveClient)
	go n.peers.run()
	go n.clients.run()
	for _, each := range n.owner.links {
		if each != nil {
			n.writers.Go(func() { each.run(n.goodbye) })
		}
	}
	go n.owner.run()
	n.serveControl()
	return n, nil
}

// open takes the resources, and gives them back if one of them is not to be had.
func (n *Node) open(options Options) (err error) {
	defer func() {
		if err != nil {
			n.giveBack()
		}
	}()
	if n.store, err = store.Open(n.settings.DataDir); err != nil {
		return err
	}
	if n.incarnation, err = n.store.NextIncarnation(realtimeNs()); err != nil {
		return fmt.Errorf("storing the incarnation: %w", err)
	}
	config := n.settings.Core(n.incarnation)
	config.Bug = n.bug
	config.ChannelFull = func(target, ahead int) bool {
		to := n.owner.links[target]
		return to != nil && to.full(ahead)
	}
	machine := core.New(config, n.counters)
	if err = n.store.Load(machine.Restore); err != nil {
		return fmt.Errorf("replaying the changelog: %w", err)
	}
	if n.listeners = options.Listeners; n.listeners == nil {
		if n.listeners, err = Listen(n.settings.Listen); err != nil {
			return err
		}
	}
	events := options.Events
	if !n.settings.Events {
		events = nil
	}
	n.owner, err = newOwner(n, machine, events)
	return err
}

func (n *Node) isLeader() bool { return n.settings.Name == n.settings.Leader }

func (n *Node) giveBack() {
	if n.listeners != nil {
		n.listeners.Close()
	}
	if n.store != nil {
		n.store.Close()
	}
}

// Failed carries the reason when the node cannot go on.
func (n *Node) Failed() <-chan error { return n.failed }

func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

// post hands an input to the owner, or drops it when the node stops.
func (n *Node) post(in input) bool {
	select {
	case n.inbox <- in:
		return true
	case <-n.closing:
		return false
	}
}

// Stop ends the node in order: no new work, then what is being stored is stored and reported,
// then what is queued is sent, then everything is closed.
func (n *Node) Stop() {
	n.once.Do(func() {
		close(n.closing)
		n.listeners.Close()
		n.peers.refuse()
		n.clients.refuse()
		<-n.owned
		close(n.goodbye)
		n.writers.Wait()
		n.owner.tracing.close()
		n.peers.hangUp()
		n.peers.serving.Wait()
		n.clients.serving.Wait()
		n.control.Close()
		n.store.Close()
	})
}
