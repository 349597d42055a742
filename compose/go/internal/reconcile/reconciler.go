package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Round is what a round found at one follower.
type Round struct {
	TimeNs    int64   `json:"t"`
	Event     string  `json:"e"`
	Replica   string  `json:"replica"`
	Nodes     int     `json:"nodes"`
	Rows      int     `json:"rows"`
	Lag       int     `json:"lag"`
	Drift     []Drift `json:"drift"`
	Corrected int     `json:"corrected"`
	Left      int     `json:"left"`
	// Unreachable names the replica that did not answer.
	Unreachable string `json:"unreachable"`
}

// Snapshot is what became of one snapshot.
type Snapshot struct {
	TimeNs int64  `json:"t"`
	Event  string `json:"e"`
	Prefix uint64 `json:"prefix"`
	Valid  bool   `json:"valid"`
	Reason string `json:"reason"`
}

// Reconciler compares, corrects and reports until it is told to stop.
type Reconciler struct {
	settings       *Settings
	output         io.Writer
	logger         *slog.Logger
	leader         *replica
	followers      []*replica
	nodes, repairs *limit
	totals         *totals
	mutex          sync.Mutex
}

// New makes a reconciler; report lines go to the output.
func New(settings *Settings, output io.Writer, logger *slog.Logger) (*Reconciler, error) {
	if err := os.MkdirAll(settings.DataDir, 0o755); err != nil {
		return nil, err
	}
	// What a reconciler that was killed was writing.
	if err := os.Remove(filepath.Join(settings.DataDir, temporaryName)); err != nil &&
		!errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	made := &Reconciler{
		settings: settings, output: output, logger: logger,
		leader: newReplica("leader", settings.Leader),
		nodes:  newLimit(settings.NodesPerS), repairs: newLimit(settings.RepairsPerS),
		totals: newTotals(),
	}
	for _, name := range slices.Sorted(maps.Keys(settings.Followers)) {
		made.followers = append(made.followers, newReplica(name, settings.Followers[name]))
	}
	return made, nil
}

// Run goes on until the context ends.
func (r *Reconciler) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { repeat(ctx, r.settings.EveryNs, r.round) })
	if r.settings.SnapshotEveryNs > 0 {
		running.Go(func() { repeat(ctx, r.settings.SnapshotEveryNs, r.snapshot) })
	}
	running.Wait()
}

// repeat does something at once and then periodically; what comes late is skipped.
func repeat(ctx context.Context, everyNs int64, do func(context.Context)) {
	ticks := time.NewTicker(time.Duration(everyNs))
	defer ticks.Stop()
	for {
		do(ctx)
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}

// round compares all followers; one that does not answer delays no other.
func (r *Reconciler) round(ctx context.Context) {
	var comparing sync.WaitGroup
	for _, follower := range r.followers {
		comparing.Go(func() { r.compare(ctx, follower) })
	}
	comparing.Wait()
	r.totals.round()
}

func (r *Reconciler) compare(ctx context.Context, follower *replica) {
	compared := &comparison{
		leader: r.leader, follower: follower, nodes: r.nodes, repairs: r.repairs,
		line: Round{Event: "round", Replica: follower.name, Drift: []Drift{}},
	}
	err := compared.run(ctx)
	if ctx.Err() != nil {
		return // Cut short by the stop: half a round says nothing.
	}
	if err != nil {
		r.logger.Info("a round was cut short", "follower", follower.name, "error", err)
	}
	compared.line.TimeNs = monotonicNs()
	r.totals.add(compared)
	r.tell(&compared.line)
}

func (r *Reconciler) snapshot(ctx context.Context) {
	prefix, err := takeSnapshot(ctx, r.leader, r.settings.DataDir)
	if ctx.Err() != nil {
		return
	}
	told := Snapshot{TimeNs: monotonicNs(), Event: "snapshot", Prefix: prefix, Valid: err == nil}
	var away *unreachable
	if errors.As(err, &away) {
		r.logger.Info("there is no snapshot", "error", err)
		r.totals.unreachable()
		return
	}
	if err != nil {
		told.Reason = err.Error()
		r.logger.Warn("a snapshot was not kept", "prefix", prefix, "error", err)
	}
	r.totals.snapshot(told.Valid)
	r.tell(&told)
}

// tell writes one line.
func (r *Reconciler) tell(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // These structures always have a JSON form.
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if _, err := r.output.Write(append(text, '\n')); err != nil {
		r.logger.Error("a line could not be written", "error", err)
	}
}

func monotonicNs() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // The kernel always has this clock.
	}
	return now.Nano()
}
