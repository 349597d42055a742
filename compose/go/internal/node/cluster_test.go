package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"driftlab/replica/internal/frame"
	"driftlab/replica/internal/settings"
	"driftlab/replica/wire"
)

// journal collects an event log; a test may read it while it is written.
type journal struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (j *journal) Write(line []byte) (int, error) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.text.Write(line)
}

func (j *journal) String() string {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.text.String()
}

// cluster is a set of replicas in this process, on the loopback interface.
type cluster struct {
	t        testing.TB
	settings []*settings.Settings
	nodes    []*Node
	journals []*journal
}

func newCluster(t testing.TB, count int, change func(*settings.Settings)) *cluster {
	c := &cluster{t: t, nodes: make([]*Node, count)}
	listeners := make([]*Listeners, count)
	var names []string
	for index := range count {
		opened, err := Listen(settings.Listen{
			Peer: "127.0.0.1:0", Client: "127.0.0.1:0", Control: "127.0.0.1:0",
		})
		if err != nil {
			t.Fatal(err)
		}
		listeners[index] = opened
		names = append(names, []string{"leader", "f1", "f2"}[index])
	}
	for index, name := range names {
		made := exampleSettings(name, index, names, t.TempDir())
		for other := range names {
			if other != index && (index == 0 || other == 0) {
				made.Peers[names[other]] = listeners[other].Peer.Addr().String()
			}
		}
		made.Listen = settings.Listen{
			Peer:    listeners[index].Peer.Addr().String(),
			Client:  listeners[index].Client.Addr().String(),
			Control: listeners[index].Control.Addr().String(),
		}
		if change != nil {
			change(made)
		}
		c.settings = append(c.settings, made)
		c.journals = append(c.journals, &journal{})
	}
	for index := range names {
		c.start(index, listeners[index])
	}
	t.Cleanup(func() {
		for _, each := range c.nodes {
			each.Stop()
		}
	})
	return c
}

func exampleSettings(name string, index int, names []string, folder string) *settings.Settings {
	return &settings.Settings{
		Schema: 1, RunID: "test", Name: name, Index: index, Leader: "leader", Replicas: names,
		Peers: make(map[string]string), Seed: 7, Mode: "quorum", Bound: 4,
		Ordering: "sequence", DataDir: folder, Events: true, LogLevel: "error",
		Policy: settings.Policy{
			TimeoutNs: 100e6, Attempts: 8, Backoff: "exponential", BaseNs: 20e6, CapNs: 200e6,
			Jitter: "full", BudgetPpm: -1,
		},
		Queue:            settings.Queue{Limit: 256, Overflow: "reject"},
		ReconcileEveryNs: 100e6, ReconcileBatch: 64,
		Wire: "framed", Pool: 8, SchemaVersion: 1,
	}
}

func (c *cluster) start(index int, listeners *Listeners) {
	c.t.Helper()
	started, err := Start(Options{
		Settings: c.settings[index], Version: "test", Events: c.journals[index],
		Logger: slog.New(slog.DiscardHandler), Listeners: listeners,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[index] = started
}

// restart opens a stopped replica again on its old addresses.
func (c *cluster) restart(index int) { c.start(index, nil) }

func (c *cluster) get(index int, path string, into any) *http.Response {
	c.t.Helper()
	response, err := http.Get("http://" + c.settings[index].Listen.Control + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	if into != nil {
		if err := json.NewDecoder(response.Body).Decode(into); err != nil {
			c.t.Fatal(err)
		}
	}
	return response
}

func (c *cluster) state(index int) state {
	c.t.Helper()
	var seen state
	c.get(index, "/state", &seen)
	return seen
}

// eventually waits for something that takes a few messages.
func (c *cluster) eventually(what string, holds func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		if holds() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.t.Fatalf("it does not happen that %s", what)
}

func (c *cluster) dial() *connection {
	c.t.Helper()
	opened, err := net.Dial("tcp", c.settings[0].Listen.Client)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { opened.Close() })
	opened.SetReadDeadline(time.Now().Add(30 * time.Second))
	return &connection{t: c.t, Conn: opened}
}

// connection is a client's.
type connection struct {
	net.Conn
	t testing.TB
}

func (c *connection) send(token string) {
	c.t.Helper()
	payload := protowire.AppendTag(nil, 1, protowire.BytesType)
	payload = protowire.AppendString(payload, "key of "+token)
	encoded, err := frame.Append(nil, &wire.Envelope{
		SchemaVersion: 1, Kind: wire.Kind_KIND_WRITE, IdempotencyToken: token,
		CorrelationId: "c-" + token, Payload: payload,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.Write(encoded); err != nil {
		c.t.Fatal(err)
	}
}

func (c *connection) receive() *wire.Envelope {
	c.t.Helper()
	envelope, err := frame.Read(c)
	if err != nil {
		c.t.Fatal(err)
	}
	return envelope
}

func (c *connection) write(token string) *wire.Envelope {
	c.t.Helper()
	c.send(token)
	return c.receive()
}

// connected waits until the leader reaches its followers and they reach it.
func (c *cluster) connected() {
	c.t.Helper()
	c.eventually("the links are up", func() bool {
		for _, each := range c.nodes {
			for _, outgoing := range each.owner.links {
				if outgoing == nil {
					continue
				}
				outgoing.mutex.Lock()
				up := outgoing.connected
				outgoing.mutex.Unlock()
				if !up {
					return false
				}
			}
		}
		return true
	})
}

func (c *cluster) converged(prefix uint64) {
	c.t.Helper()
	c.eventually(fmt.Sprint("all hold ", prefix), func() bool {
		first := c.state(0)
		for index := range c.nodes {
			seen := c.state(index)
			if seen.Prefix != prefix || seen.Digest != first.Digest ||
				seen.PrefixHash != first.PrefixHash {
				return false
			}
		}
		return true
	})
}

func (j *journal) count(text string) int { return strings.Count(j.String(), text) }
