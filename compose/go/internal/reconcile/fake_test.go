package reconcile

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"driftlab/replica/internal/core"
	"driftlab/replica/internal/ledger"
	"driftlab/replica/wire"
)

// fake answers the control requests of a reconciler as a replica does, without a log of its own.
type fake struct {
	*httptest.Server
	mutex   sync.Mutex
	machine *core.Follower
	entries []core.Entry
	// forge changes an answer, status breaks every one of them.
	forge  func(path, text string) string
	status int
	// asked is called before each request is answered.
	asked    func(path string)
	requests []string
}

func entryOf(sequence uint64, key string) core.Entry {
	payload := protowire.AppendTag(nil, 1, protowire.BytesType)
	payload = protowire.AppendString(payload, key)
	payload = protowire.AppendTag(payload, 3, protowire.VarintType)
	payload = protowire.AppendVarint(payload, sequence)
	return core.Entry{
		Sequence: sequence, Origin: "leader", Token: fmt.Sprint("t", sequence), Key: key, Payload: payload,
	}
}

func newFake(t *testing.T, bug core.Bug) *fake {
	f := &fake{machine: core.NewFollower(core.Config{
		Name: "f1", Leader: "leader", Replicas: []string{"leader", "f1"}, Ordering: "sequence",
		QueueLimit: 1 << 20, Bug: bug,
	}, &core.Counters{})}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

// take stores entries.
func (f *fake) take(entries ...core.Entry) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.entries = append(f.entries, entries...)
	for _, entry := range entries {
		f.machine.Receive(0, entry.Envelope(wire.Kind_KIND_UPDATE, "leader", 1))
		f.machine.Committed(0, 1)
	}
}

func (f *fake) digest() string {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return core.DigestCells(f.machine.Cells())
}

func (f *fake) serve(response http.ResponseWriter, request *http.Request) {
	if f.asked != nil {
		f.asked(request.URL.Path)
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.requests = append(f.requests, request.Method+" "+request.URL.Path)
	if f.status != 0 {
		response.WriteHeader(f.status)
		return
	}
	text := &strings.Builder{}
	encoder := json.NewEncoder(text)
	query := request.URL.Query()
	switch request.URL.Path {
	case "/merkle":
		encoder.Encode(f.merkle(query.Get("path")))
	case "/entry":
		sequence, _ := strconv.ParseUint(query.Get("sequence"), 10, 64)
		if sequence == 0 || sequence > uint64(len(f.entries)) {
			response.WriteHeader(http.StatusNotFound)
			return
		}
		encoder.Encode(ledger.FromEntry(&f.entries[sequence-1]))
	case "/snapshot":
		state := ledger.NewState("")
		for index := range f.entries {
			state.Take(&f.entries[index])
		}
		encoder.Encode(ledger.Header{
			Prefix: state.Count, PrefixHash: state.PrefixHash(), Digest: state.Digest(),
		})
		for index := range f.entries {
			encoder.Encode(ledger.FromEntry(&f.entries[index]))
		}
	case "/repair":
		var wanted struct{ Entries []ledger.Line }
		json.NewDecoder(request.Body).Decode(&wanted)
		encoder.Encode(f.repair(wanted.Entries))
	}
	answered := text.String()
	if f.forge != nil {
		answered = f.forge(request.URL.Path, answered)
	}
	fmt.Fprint(response, answered)
}

func (f *fake) repair(lines []ledger.Line) core.Corrections {
	var entries []core.Entry
	for index := range lines {
		entry, err := lines[index].Entry()
		if err != nil {
			panic(err)
		}
		entries = append(entries, entry)
	}
	commands, done := f.machine.Correct(0, entries)
	stored := 0
	for _, command := range commands {
		if _, isAppend := command.(core.Append); isAppend {
			stored++
		}
	}
	f.machine.Committed(0, stored)
	return done
}

func (f *fake) merkle(path string) map[string]any {
	var digits []int
	for _, digit := range path {
		digits = append(digits, strings.IndexRune("0123456789abcdef", digit))
	}
	found := f.machine.Merkle(digits)
	body := map[string]any{"path": path, "hash": found.Hash, "prefix": f.machine.Status().Prefix}
	if len(path) < core.MerkleDepth {
		body["children"] = found.Children
		return body
	}
	var rows []map[string]string
	for _, cell := range found.Rows {
		rows = append(rows, map[string]string{
			"key": hex.EncodeToString([]byte(cell.Key)), "sequence": fmt.Sprint(cell.Sequence),
			"payload_hash": fmt.Sprint(core.PayloadWord(cell.Payload)),
		})
	}
	body["rows"] = rows
	return body
}
