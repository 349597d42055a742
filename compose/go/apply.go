package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"

	"driftlab/replica/internal/core"
	"driftlab/replica/wire"
)

const (
	applyQueueLimit   = math.MaxInt
	applyLineBytesMax = 4 << 20
)

// streamLine is one update of a recorded stream.
type streamLine struct {
	Sequence string `json:"sequence"`
	Token    string `json:"token"`
	Payload  string `json:"payload"`
}

// applied is what a follower ends in.
type applied struct {
	Digest     string `json:"digest"`
	Prefix     uint64 `json:"prefix"`
	PrefixHash string `json:"prefix_hash"`
	Keys       int    `json:"keys"`
	Duplicates uint64 `json:"duplicates"`
	OutOfOrder uint64 `json:"out_of_order"`
	Superseded uint64 `json:"superseded"`
	Waiting    int    `json:"waiting"`
}

// apply feeds a recorded stream to a follower that has neither disk nor network.
func apply(ordering string, bug core.Bug, input io.Reader, output, errput io.Writer) int {
	if ordering != "sequence" && ordering != "key" {
		fmt.Fprintf(errput, "ordering %q is neither sequence nor key\n", ordering)
		return exitUsage
	}
	result, err := applyStream(ordering, bug, input)
	if err != nil {
		fmt.Fprintln(errput, err)
		return exitFailure
	}
	if err := json.NewEncoder(output).Encode(result); err != nil {
		fmt.Fprintln(errput, err)
		return exitFailure
	}
	return 0
}

func applyStream(ordering string, bug core.Bug, input io.Reader) (applied, error) {
	counters := &core.Counters{}
	follower := core.NewFollower(core.Config{
		Name: "follower", Index: 1, Leader: "leader", Replicas: []string{"leader", "follower"},
		Mode: "async", Ordering: ordering, QueueLimit: applyQueueLimit, Bug: bug,
	}, counters)
	superseded := uint64(0)
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, applyLineBytesMax)
	for number := 1; lines.Scan(); number++ {
		envelope, err := decodeLine(lines.Bytes())
		if err != nil {
			return applied{}, fmt.Errorf("line %d: %w", number, err)
		}
		for _, command := range receive(follower, envelope) {
			if event, isEvent := command.(core.Emit); isEvent && event.Name == "superseded" {
				superseded++
			}
		}
		if counters.Get(core.Malformed) > 0 {
			return applied{}, fmt.Errorf("line %d: not an update", number)
		}
	}
	if err := lines.Err(); err != nil {
		return applied{}, err
	}
	status := follower.Status()
	return applied{
		Digest:     core.DigestCells(follower.Cells()),
		Prefix:     status.Prefix,
		PrefixHash: strconv.FormatUint(bug.Number(status.PrefixHash), 10),
		Keys:       status.Keys,
		Duplicates: counters.Get(core.Duplicates),
		OutOfOrder: counters.Get(core.OutOfOrder),
		Superseded: superseded,
		Waiting:    status.Waiting,
	}, nil
}

// receive gives the follower an update and stands for a disk that is done at once.
func receive(follower *core.Follower, envelope *wire.Envelope) []core.Command {
	for _, command := range follower.Receive(0, envelope) {
		if _, isAppend := command.(core.Append); isAppend {
			return follower.Committed(0, 1)
		}
	}
	return nil
}

func decodeLine(text []byte) (*wire.Envelope, error) {
	var line streamLine
	if err := json.Unmarshal(text, &line); err != nil {
		return nil, err
	}
	sequence, err := strconv.ParseUint(line.Sequence, 10, 64)
	if err != nil {
		return nil, err
	}
	payload, err := hex.DecodeString(line.Payload)
	if err != nil {
		return nil, err
	}
	return &wire.Envelope{
		SchemaVersion: core.SchemaVersion, Kind: wire.Kind_KIND_UPDATE, Source: "leader",
		Sequence: sequence, IdempotencyToken: line.Token, Payload: payload,
	}, nil
}
