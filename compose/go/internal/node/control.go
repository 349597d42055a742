package node

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"driftlab/replica/internal/core"
)

const (
	// requestBytesMax bounds the body of a control request.
	requestBytesMax = 4 << 20
	// requestTimeout and answerTimeout bound the reading of a request and the writing of an answer.
	requestTimeout = 10 * time.Second
	answerTimeout  = 30 * time.Second
)

type health struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Runtime string `json:"runtime"`
	Version string `json:"version"`
	// Connected says by peer whether a connection for frames to it is open.
	Connected map[string]bool `json:"connected"`
	// SeededBug is only there when there is one.
	SeededBug core.Bug `json:"seeded_bug,omitempty"`
}

type state struct {
	Name         string            `json:"name"`
	Mode         string            `json:"mode"`
	LastSequence uint64            `json:"last_sequence"`
	Prefix       uint64            `json:"prefix"`
	PrefixHash   uint64            `json:"prefix_hash"`
	Digest       string            `json:"digest"`
	Keys         int               `json:"keys"`
	Waiting      int               `json:"waiting"`
	Outstanding  int               `json:"outstanding"`
	MonotonicNs  int64             `json:"monotonic_ns"`
	Incarnation  uint64            `json:"incarnation"`
	Breakers     map[string]string `json:"breakers"`
	Faults       *faults           `json:"faults"`
	Counters     map[string]uint64 `json:"counters"`
}

// serveControl starts the control interface; everything it reports on is up by now.
func (n *Node) serveControl() {
	n.control = &http.Server{
		Handler: routes{
			"/healthz":  {"GET": n.getHealth},
			"/state":    {"GET": n.getState},
			"/mode":     {"POST": n.postMode},
			"/links":    {"POST": n.postLinks},
			"/faults":   {"POST": n.postFaults},
			"/read":     {"GET": n.getRead},
			"/entry":    {"GET": n.getEntry},
			"/snapshot": {"GET": n.getSnapshot},
			"/merkle":   {"GET": n.getMerkle},
			"/repair":   {"POST": n.postRepair},
			"/metrics":  {"GET": promhttp.HandlerFor(n.registry(), promhttp.HandlerOpts{}).ServeHTTP},
		},
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ReadTimeout: requestTimeout, WriteTimeout: answerTimeout,
	}
	go func() {
		if err := n.control.Serve(n.listeners.Control); !errors.Is(err, http.ErrServerClosed) {
			select {
			case <-n.closing:
			default:
				n.fail(err)
			}
		}
	}()
}

// routes has a function for each path and method.
type routes map[string]map[string]http.HandlerFunc

// ServeHTTP refuses what is too large or not there, in the form of all refusals.
func (r routes) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	methods, found := r[request.URL.Path]
	serve := methods[request.Method]
	switch {
	case request.ContentLength > requestBytesMax:
		// Who is still writing would not see an answer that comes too early.
		io.CopyN(io.Discard, request.Body, 2*requestBytesMax)
		refuse(response, http.StatusRequestEntityTooLarge, "the request is over 4 MiB")
	case !found:
		refuse(response, http.StatusNotFound, "there is no such path")
	case serve == nil:
		refuse(response, http.StatusMethodNotAllowed, "there is no such method on this path")
	default:
		serve(response, request)
	}
}

// readBody reads a request of JSON strictly, or refuses it.
func readBody(response http.ResponseWriter, request *http.Request, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(response, request.Body, requestBytesMax))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more than one JSON value")
			if more != nil {
				err = more
			}
		}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		refuse(response, http.StatusRequestEntityTooLarge, "the request is over 4 MiB")
	case err != nil:
		refuse(response, http.StatusBadRequest, err.Error())
	}
	return err == nil
}

// ask lets the owner look at the machine, or refuses because the replica stops.
func (n *Node) ask(response http.ResponseWriter, look func(core.Machine)) bool {
	done := make(chan struct{})
	if n.post(input{ask: look, done: done}) {
		select {
		case <-done:
			return true
		case <-n.owned:
		}
	}
	refuse(response, http.StatusServiceUnavailable, "the replica is stopping")
	return false
}

func answer(response http.ResponseWriter, status int, body any) {
	response.Header().Set("Content-Type", "application/json")
	response.WriteHeader(status)
	json.NewEncoder(response).Encode(body)
}

func refuse(response http.ResponseWriter, status int, reason string) {
	answer(response, status, map[string]string{"error": reason})
}

func (n *Node) getHealth(response http.ResponseWriter, _ *http.Request) {
	role := "follower"
	if n.isLeader() {
		role = "leader"
	}
	connected := make(map[string]bool, len(n.owner.links))
	for _, each := range n.owner.links {
		if each != nil {
			connected[each.name] = each.isConnected()
		}
	}
	answer(response, http.StatusOK, health{
		Name: n.settings.Name, Role: role, Runtime: "go", Version: n.version, Connected: connected, SeededBug: n.bug,
	})
}

// getState asks the owner for a copy, and sorts and hashes it here.
func (n *Node) getState(response http.ResponseWriter, _ *http.Request) {
	var status core.Status
	var cells []core.Cell
	if !n.ask(response, func(machine core.Machine) {
		status, cells = machine.Status(), machine.Cells()
	}) {
		return
	}
	breakers := make(map[string]string, len(status.Breakers))
	for _, each := range status.Breakers {
		breakers[each.Follower] = each.State.String()
	}
	answer(response, http.StatusOK, state{
		Name:         n.settings.Name,
		Mode:         status.Mode,
		LastSequence: status.LastSequence,
		Prefix:       status.Prefix,
		PrefixHash:   status.PrefixHash,
		Digest:       core.DigestCells(cells),
		Keys:         status.Keys,
		Waiting:      status.Waiting,
		Outstanding:  status.Outstanding,
		MonotonicNs:  monotonicNs(),
		Incarnation:  n.incarnation,
		Breakers:     breakers,
		Faults:       n.faults.Load(),
		Counters:     n.counters.Map(),
	})
}

func (n *Node) postMode(response http.ResponseWriter, request *http.Request) {
	var wanted struct {
		Mode string `json:"mode"`
	}
	if !readBody(response, request, &wanted) {
		return
	}
	if !core.ValidMode(wanted.Mode) {
		refuse(response, http.StatusBadRequest, "mode must be async, quorum, sync or bounded")
		return
	}
	done := make(chan struct{})
	if n.post(input{mode: wanted.Mode, done: done}) {
		select {
		case <-done:
			answer(response, http.StatusOK, wanted)
			return
		case <-n.owned:
		}
	}
	refuse(response, http.StatusServiceUnavailable, "the replica is stopping")
}
