package reconcile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"driftlab/replica/internal/core"
	"driftlab/replica/internal/ledger"
)

const (
	// requestTimeout is the deadline of every request, its answer included.
	requestTimeout = time.Second
	// answerBytesMax bounds what is read of an answer; a snapshot is streamed.
	answerBytesMax = 64 << 20
)

// errMissing says that a replica has no such entry.
var errMissing = errors.New("there is no such entry")

// unreachable says that a replica did not answer as it should.
type unreachable struct {
	name string
	err  error
}

func (u *unreachable) Error() string { return u.name + ": " + u.err.Error() }

func (u *unreachable) Unwrap() error { return u.err }

// replica is the control interface of one replica.
type replica struct {
	name, address string
	client        *http.Client
}

func newReplica(name, address string) *replica {
	return &replica{name, address, &http.Client{
		Timeout: requestTimeout,
		// No proxy of the environment: the settings say where the replicas are.
		Transport: &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute},
	}}
}

// ask sends a request and returns an answer of status 200 or 404, whose body is to be closed.
func (r *replica) ask(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, r.address+path, bytes.NewReader(body))
	if err != nil {
		return nil, &unreachable{r.name, err}
	}
	response, err := r.client.Do(request)
	if err != nil {
		return nil, &unreachable{r.name, err}
	}
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusNotFound {
		response.Body.Close()
		return nil, &unreachable{r.name, fmt.Errorf("%s answers %s", path, response.Status)}
	}
	return response, nil
}

// askJSON reads an answer of JSON.
func (r *replica) askJSON(ctx context.Context, method, path string, body []byte, into any) error {
	response, err := r.ask(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotFound {
		return errMissing
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, answerBytesMax)).Decode(into); err != nil {
		return &unreachable{r.name, fmt.Errorf("%s: %w", path, err)}
	}
	return nil
}

// node is one node of a replica's tree.
type node struct {
	Hash     string   `json:"hash"`
	Prefix   uint64   `json:"prefix"`
	Children []string `json:"children"`
	Rows     []struct {
		Key         string `json:"key"`
		Sequence    string `json:"sequence"`
		PayloadHash string `json:"payload_hash"`
	} `json:"rows"`
}

// row is what a key holds.
type row struct {
	sequence    uint64
	payloadHash string
}

func (r *replica) merkle(ctx context.Context, path string) (*node, error) {
	answered := &node{}
	if err := r.askJSON(ctx, http.MethodGet, "/merkle?path="+path, nil, answered); err != nil {
		return nil, notThere(r.name, err)
	}
	if len(path) < core.MerkleDepth && len(answered.Children) != core.MerkleFan {
		return nil, &unreachable{r.name, fmt.Errorf("a node of %d children", len(answered.Children))}
	}
	return answered, nil
}

// notThere makes a missing path a replica that does not answer.
func notThere(name string, err error) error {
	if errors.Is(err, errMissing) {
		return &unreachable{name, errors.New("the path is unknown to the replica")}
	}
	return err
}

// rows reads the rows of a bucket by key.
func (r *replica) rows(from *node) (map[string]row, error) {
	found := make(map[string]row, len(from.Rows))
	for _, each := range from.Rows {
		sequence, err := strconv.ParseUint(each.Sequence, 10, 64)
		if err != nil {
			return nil, &unreachable{r.name, err}
		}
		found[each.Key] = row{sequence, each.PayloadHash}
	}
	return found, nil
}

// entry fetches one entry of the log as it is to be sent on.
func (r *replica) entry(ctx context.Context, sequence uint64) (*ledger.Line, error) {
	line := &ledger.Line{}
	path := "/entry?sequence=" + strconv.FormatUint(sequence, 10)
	if err := r.askJSON(ctx, http.MethodGet, path, nil, line); err != nil {
		return nil, err
	}
	return line, nil
}

// repair hands entries to a follower and returns how many of them changed something.
func (r *replica) repair(ctx context.Context, lines []*ledger.Line) (int, error) {
	body, err := json.Marshal(map[string]any{"entries": lines})
	if err != nil {
		return 0, err
	}
	var done core.Corrections
	if err := r.askJSON(ctx, http.MethodPost, "/repair", body, &done); err != nil {
		return 0, notThere(r.name, err)
	}
	return done.Stored + done.Corrected, nil
}
