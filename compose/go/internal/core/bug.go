package core

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"driftlab/replica/wire"
)

// Bug is a defect that a replica is given on purpose, to show that the tests which must notice
// it do. The zero value is none.
type Bug string

// The bugs that can be seeded. The names are those of the contract.
const (
	BugEarlyAck       Bug = "B1"
	BugTokenIgnored   Bug = "B2"
	BugAnyOrder       Bug = "B3"
	BugClockWins      Bug = "B4"
	BugMergesAgain    Bug = "B5"
	BugTokenForgotten Bug = "B6"
	BugEagerRetries   Bug = "B9"
	BugDeafToDigests  Bug = "B12"
	BugSnapshotShort  Bug = "B13"
	BugReencodes      Bug = "B15"
	BugFloats         Bug = "B16"
	BugUnboundedQueue Bug = "B17"
	BugBreakerStuck   Bug = "B18"
	BugLossOverlooked Bug = "B19"
)

var bugs = []Bug{
	BugEarlyAck, BugTokenIgnored, BugAnyOrder, BugClockWins, BugMergesAgain, BugTokenForgotten,
	BugEagerRetries, BugDeafToDigests, BugSnapshotShort, BugReencodes, BugFloats,
	BugUnboundedQueue, BugBreakerStuck, BugLossOverlooked,
}

// tokenMemoryNs is how long the seeded bug that forgets tokens knows one.
const tokenMemoryNs = 300_000_000

// SnapshotGap is how many entries the seeded bug of snapshots leaves out.
const SnapshotGap = 8

// Number is a number as this replica tells it: by one seeded bug through a 64-bit float.
func (b Bug) Number(value uint64) uint64 {
	if b == BugFloats {
		return uint64(float64(value))
	}
	return value
}

// ParseBug reads the name of a bug.
func ParseBug(name string) (Bug, error) {
	if !slices.Contains(bugs, Bug(name)) {
		return "", fmt.Errorf("unknown bug %q: use one of %v", name, bugs)
	}
	return Bug(name), nil
}

// reencode does to a payload what a relay does that decodes it by its own schema.
func reencode(payload []byte) []byte {
	update := &wire.Update{}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(payload, update); err != nil {
		return payload
	}
	encoded, err := proto.Marshal(update)
	if err != nil {
		return payload
	}
	return encoded
}
