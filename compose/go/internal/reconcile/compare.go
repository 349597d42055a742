package reconcile

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"

	"driftlab/replica/internal/core"
	"driftlab/replica/internal/ledger"
)

const (
	// driftsTold bounds the rows in one line of output.
	driftsTold = 100
	// repairBytesMax bounds one request of corrections; an entry may be larger than that.
	repairBytesMax = 1 << 20
	repairsMax     = 100
)

// Drift is one row of a follower that is neither the leader's nor on its way.
type Drift struct {
	Key string `json:"key"`
	Why string `json:"why"`
	// The sequences are decimal text, "" where there is no row.
	LeaderSequence  string `json:"leader_sequence"`
	ReplicaSequence string `json:"replica_sequence"`
	leaderSequence  uint64
}

const (
	lag  = "lag"
	same = ""
)

// judge compares one row. A row that the leader has beyond what the follower has applied is lag.
func judge(leader, follower *row, prefix uint64) string {
	switch {
	case leader == nil && follower == nil:
		return same
	case leader == nil:
		return "extra"
	case follower != nil && follower.sequence > leader.sequence:
		return "newer"
	case follower != nil && follower.sequence == leader.sequence:
		if follower.payloadHash != leader.payloadHash {
			return "different"
		}
		return same
	case leader.sequence > prefix:
		return lag
	case follower == nil:
		return "missing"
	}
	return "older"
}

// comparison is one round of one follower.
type comparison struct {
	leader, follower *replica
	nodes, repairs   *limit
	line             Round
	found            map[string]int
}

// run descends from the root.
func (c *comparison) run(ctx context.Context) error {
	c.found = make(map[string]int)
	err := c.descend(ctx, "")
	var away *unreachable
	if errors.As(err, &away) {
		c.line.Unreachable = away.name
	}
	return err
}

// descend goes into the children that differ.
func (c *comparison) descend(ctx context.Context, path string) error {
	if err := c.nodes.wait(ctx); err != nil {
		return err
	}
	mine, err := c.leader.merkle(ctx, path)
	if err != nil {
		return err
	}
	theirs, err := c.follower.merkle(ctx, path)
	if err != nil {
		return err
	}
	c.line.Nodes++
	if mine.Hash == theirs.Hash {
		return nil
	}
	if len(path) == core.MerkleDepth {
		return c.bucket(ctx, path, mine, theirs)
	}
	for digit := range core.MerkleFan {
		if mine.Children[digit] != theirs.Children[digit] {
			below := path + strconv.FormatInt(int64(digit), core.MerkleFan)
			if err := c.descend(ctx, below); err != nil {
				return err
			}
		}
	}
	return nil
}

// bucket looks for drift in the rows, reads suspects again, and has them put right.
func (c *comparison) bucket(ctx context.Context, path string, mine, theirs *node) error {
	wanted, err := c.leader.rows(mine)
	if err != nil {
		return err
	}
	held, err := c.follower.rows(theirs)
	if err != nil {
		return err
	}
	var suspects []string
	keys := maps.Clone(wanted)
	maps.Copy(keys, held)
	c.line.Rows += len(keys)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		switch judge(at(wanted, key), at(held, key), theirs.Prefix) {
		case same:
		case lag:
			c.line.Lag++
		default:
			suspects = append(suspects, key)
		}
	}
	if len(suspects) == 0 {
		return nil
	}
	drifts, err := c.confirm(ctx, path, suspects)
	if err != nil {
		return err
	}
	for _, drift := range drifts {
		c.found[drift.Why]++
	}
	c.line.Drift = append(c.line.Drift, drifts[:min(len(drifts), driftsTold-len(c.line.Drift))]...)
	return c.correct(ctx, drifts)
}

// confirm reads the leader before and after the follower. What the leader had before must be in
// the prefix that the follower had after; what the follower had must be on the leader later.
func (c *comparison) confirm(ctx context.Context, path string, suspects []string) ([]Drift, error) {
	var seen [3]map[string]row
	var prefix uint64
	for index, from := range []*replica{c.leader, c.follower, c.leader} {
		read, err := from.merkle(ctx, path)
		if err != nil {
			return nil, err
		}
		if seen[index], err = from.rows(read); err != nil {
			return nil, err
		}
		if from == c.follower {
			prefix = read.Prefix
		}
	}
	var drifts []Drift
	for _, key := range suspects {
		mine, theirs := at(seen[0], key), at(seen[1], key)
		why := judge(mine, theirs, prefix)
		if why == "newer" || why == "extra" {
			mine = at(seen[2], key)
			if why = judge(mine, theirs, prefix); why != "newer" && why != "extra" {
				continue
			}
		}
		switch why {
		case same:
		case lag:
			c.line.Lag++
		default:
			drift := Drift{
				Key: key, Why: why, LeaderSequence: text(mine), ReplicaSequence: text(theirs),
			}
			if mine != nil {
				drift.leaderSequence = mine.sequence
			}
			drifts = append(drifts, drift)
		}
	}
	return drifts, nil
}

func at(rows map[string]row, key string) *row {
	if found, there := rows[key]; there {
		return &found
	}
	return nil
}

func text(of *row) string {
	if of == nil {
		return ""
	}
	return strconv.FormatUint(of.sequence, 10)
}

// correct hands the leader's entries to the follower, as many as the rate allows. What the
// follower has beyond the leader is left: nobody knows that it is wrong.
func (c *comparison) correct(ctx context.Context, drifts []Drift) error {
	var lines []*ledger.Line
	bytes := 0
	for _, drift := range drifts {
		if drift.Why == "extra" || drift.Why == "newer" {
			continue
		}
		if !c.repairs.take() {
			c.line.Left++
			continue
		}
		line, err := c.leader.entry(ctx, drift.leaderSequence)
		if errors.Is(err, errMissing) || err == nil && line.Payload == nil {
			c.line.Left++
			continue
		}
		if err != nil {
			return err
		}
		if len(lines) == repairsMax || bytes+len(*line.Payload) > repairBytesMax {
			if err := c.send(ctx, lines); err != nil {
				return err
			}
			lines, bytes = nil, 0
		}
		lines, bytes = append(lines, line), bytes+len(*line.Payload)
	}
	return c.send(ctx, lines)
}

func (c *comparison) send(ctx context.Context, lines []*ledger.Line) error {
	if len(lines) == 0 {
		return nil
	}
	changed, err := c.follower.repair(ctx, lines)
	c.line.Corrected += changed
	return err
}
