package reconcile

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"driftlab/replica/internal/ledger"
)

const (
	// snapshotsKept is how many snapshots stay.
	snapshotsKept = 3
	// snapshotLineMax bounds one line of a snapshot.
	snapshotLineMax = 4 << 20
	temporaryName   = "snapshot.tmp"
)

// mismatch says that a snapshot is not what its header says.
type mismatch struct{ reason string }

func (m *mismatch) Error() string { return m.reason }

// takeSnapshot fetches a snapshot, and keeps it if it is what it says.
func takeSnapshot(ctx context.Context, leader *replica, folder string) (uint64, error) {
	response, err := leader.ask(ctx, http.MethodGet, "/snapshot", nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, &unreachable{leader.name, errors.New("there are no snapshots")}
	}
	path := filepath.Join(folder, temporaryName)
	file, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer os.Remove(path)
	defer file.Close()
	buffered := bufio.NewWriter(file)
	prefix, err := verify(io.TeeReader(response.Body, buffered))
	var wrong *mismatch
	if err != nil && !errors.As(err, &wrong) {
		return prefix, &unreachable{leader.name, err}
	}
	if err != nil {
		return prefix, err
	}
	if err := errors.Join(buffered.Flush(), file.Sync()); err != nil {
		return prefix, err
	}
	if err := os.Rename(path, filepath.Join(folder, fmt.Sprintf("snapshot-%d.jsonl", prefix))); err != nil {
		return prefix, err
	}
	return prefix, errors.Join(prune(folder), syncFolder(folder))
}

// verify reads a snapshot to its end and compares it with its header.
func verify(from io.Reader) (uint64, error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, snapshotLineMax)
	var header ledger.Header
	if !lines.Scan() {
		return 0, errors.Join(lines.Err(), io.ErrUnexpectedEOF)
	}
	if err := json.Unmarshal(lines.Bytes(), &header); err != nil {
		return 0, &mismatch{"the header is no JSON object of the contract"}
	}
	state := ledger.NewState("")
	var wrong error
	for lines.Scan() {
		if wrong == nil {
			wrong = take(state, lines.Bytes())
		}
	}
	switch {
	case lines.Err() != nil:
		return header.Prefix, lines.Err()
	case wrong != nil:
		return header.Prefix, wrong
	case state.Count != header.Prefix:
		return header.Prefix, &mismatch{
			fmt.Sprintf("it holds %d entries, its header says %d", state.Count, header.Prefix)}
	case state.PrefixHash() != header.PrefixHash:
		return header.Prefix, &mismatch{"its entries do not give its prefix hash"}
	case state.Digest() != header.Digest:
		return header.Prefix, &mismatch{"its entries do not give its digest"}
	}
	return header.Prefix, nil
}

// take reads the next entry.
func take(state *ledger.State, text []byte) error {
	var line ledger.Line
	if err := json.Unmarshal(text, &line); err != nil {
		return &mismatch{fmt.Sprintf("entry %d is no JSON object of the contract", state.Count+1)}
	}
	entry, err := line.Entry()
	if err != nil {
		return &mismatch{fmt.Sprintf("entry %d: %s", state.Count+1, err)}
	}
	if entry.Sequence != state.Count+1 {
		return &mismatch{fmt.Sprintf("after entry %d comes %d", state.Count, entry.Sequence)}
	}
	state.Take(&entry)
	return nil
}

// prune leaves the newest snapshots.
func prune(folder string) error {
	paths, err := filepath.Glob(filepath.Join(folder, "snapshot-*.jsonl"))
	if err != nil {
		return err
	}
	written := make(map[string]time.Time)
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			written[path] = info.ModTime()
		}
	}
	slices.SortFunc(paths, func(a, b string) int { return written[b].Compare(written[a]) })
	for _, path := range paths[min(len(paths), snapshotsKept):] {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

func syncFolder(folder string) error {
	opened, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer opened.Close()
	return opened.Sync()
}
