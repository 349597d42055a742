package node

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"driftlab/replica/internal/core"
	"driftlab/replica/internal/ledger"
	"driftlab/replica/internal/store"
)

// repairEntriesMax bounds the entries of one correction.
const repairEntriesMax = 1000

func (n *Node) getRead(response http.ResponseWriter, request *http.Request) {
	query := request.URL.Query()
	key, err := hex.DecodeString(query.Get("key"))
	if err != nil || !query.Has("key") || !utf8.Valid(key) {
		refuse(response, http.StatusBadRequest, "key must be the hex of a UTF-8 text")
		return
	}
	bound := query.Get("max_staleness_ns")
	boundNs, err := strconv.ParseUint(bound, 10, 63)
	if query.Has("max_staleness_ns") && err != nil {
		refuse(response, http.StatusBadRequest, "max_staleness_ns must be a whole number from 0")
		return
	}
	var cell core.Cell
	var found bool
	var status core.Status
	var nowNs int64
	if !n.ask(response, func(machine core.Machine) {
		cell, found = machine.Read(string(key))
		status, nowNs = machine.Status(), monotonicNs()
	}) {
		return
	}
	asOfNs := status.AsOfNs
	if status.IsNow {
		asOfNs = nowNs
	}
	stalenessNs := max(0, nowNs-asOfNs)
	if query.Has("max_staleness_ns") && uint64(stalenessNs) > boundNs {
		n.counters.Add(core.StaleReads, 1)
		answer(response, http.StatusServiceUnavailable, map[string]any{
			"error": "stale", "staleness_ns": stalenessNs,
		})
		return
	}
	n.counters.Add(core.Reads, 1)
	answer(response, http.StatusOK, map[string]any{
		"key": hex.EncodeToString(key), "found": found, "sequence": cell.Sequence,
		"payload": hex.EncodeToString(cell.Payload), "staleness_ns": stalenessNs,
		"as_of_ns": asOfNs, "prefix": status.Prefix,
	})
}

func (n *Node) getEntry(response http.ResponseWriter, request *http.Request) {
	sequence, err := strconv.ParseUint(request.URL.Query().Get("sequence"), 10, 64)
	if err != nil {
		refuse(response, http.StatusBadRequest, "sequence must be a whole number")
		return
	}
	var entry core.Entry
	var found bool
	err = n.store.Read(func(reader store.Reader) (err error) {
		entry, found, err = reader.Entry(sequence)
		return err
	})
	switch {
	case err != nil:
		refuse(response, http.StatusInternalServerError, err.Error())
	case !found:
		refuse(response, http.StatusNotFound, "there is no such entry")
	default:
		answer(response, http.StatusOK, ledger.FromEntry(&entry))
	}
}

// snapshotTries bounds how often a snapshot is begun again because the log was corrected.
const snapshotTries = 3

var errCorrected = errors.New("the log was corrected meanwhile")

func (n *Node) getSnapshot(response http.ResponseWriter, _ *http.Request) {
	for range snapshotTries {
		header, begun := ledger.Header{}, n.counters.Get(core.Corrected)
		if !n.ask(response, func(machine core.Machine) {
			status := machine.Status()
			header.Prefix, header.MonotonicNs = status.Prefix, monotonicNs()
			header.PrefixHash = strconv.FormatUint(status.PrefixHash, 10)
		}) {
			return
		}
		err := n.store.Read(func(reader store.Reader) error {
			state := ledger.NewState(n.bug)
			err := reader.Each(header.Prefix, func(entry core.Entry) error {
				state.Take(&entry)
				return nil
			})
			if err != nil {
				return err
			}
			header.Digest = state.Digest()
			if state.PrefixHash() != header.PrefixHash && n.counters.Get(core.Corrected) != begun {
				return errCorrected
			}
			return n.writeSnapshot(response, &header, reader)
		})
		switch {
		case errors.Is(err, errCorrected):
			continue
		case err != nil:
			n.logger.Warn("a snapshot was not written", "error", err)
		}
		return
	}
	refuse(response, http.StatusServiceUnavailable, errCorrected.Error())
}

func (n *Node) writeSnapshot(
	response http.ResponseWriter, header *ledger.Header, reader store.Reader,
) error {
	last := header.Prefix
	if n.bug == core.BugSnapshotShort {
		last -= min(last, core.SnapshotGap)
	}
	response.Header().Set("Content-Type", "application/jsonl")
	buffered := bufio.NewWriter(response)
	encoder := json.NewEncoder(buffered)
	if err := encoder.Encode(header); err != nil {
		return err
	}
	err := reader.Each(last, func(entry core.Entry) error {
		return encoder.Encode(ledger.FromEntry(&entry))
	})
	if err != nil {
		return err
	}
	return buffered.Flush()
}

type merkleRow struct {
	Key         string `json:"key"`
	Sequence    string `json:"sequence"`
	PayloadHash string `json:"payload_hash"`
}

func (n *Node) getMerkle(response http.ResponseWriter, request *http.Request) {
	text := request.URL.Query().Get("path")
	var path []int
	for _, digit := range text {
		path = append(path, strings.IndexRune("0123456789abcdef", digit))
		if path[len(path)-1] < 0 || len(path) > core.MerkleDepth {
			refuse(response, http.StatusBadRequest, "path must be 0 to 4 lower-case hex digits")
			return
		}
	}
	var node core.MerkleNode
	var prefix uint64
	if !n.ask(response, func(machine core.Machine) {
		node, prefix = machine.Merkle(path), machine.Status().Prefix
	}) {
		return
	}
	body := map[string]any{"path": text, "hash": node.Hash, "prefix": prefix}
	if len(path) < core.MerkleDepth {
		body["children"] = node.Children
	} else {
		rows := make([]merkleRow, len(node.Rows))
		for index, cell := range node.Rows {
			sum := sha256.Sum256(cell.Payload)
			rows[index] = merkleRow{
				hex.EncodeToString([]byte(cell.Key)), strconv.FormatUint(cell.Sequence, 10),
				hex.EncodeToString(sum[:]),
			}
		}
		body["rows"] = rows
	}
	answer(response, http.StatusOK, body)
}

func (n *Node) postRepair(response http.ResponseWriter, request *http.Request) {
	if n.isLeader() {
		refuse(response, http.StatusBadRequest, "the leader is what others are corrected by")
		return
	}
	var wanted struct {
		Entries []ledger.Line `json:"entries"`
	}
	if !readBody(response, request, &wanted) {
		return
	}
	if wanted.Entries == nil || len(wanted.Entries) > repairEntriesMax {
		refuse(response, http.StatusBadRequest,
			fmt.Sprintf("entries must hold 0 to %d entries", repairEntriesMax))
		return
	}
	entries := make([]core.Entry, len(wanted.Entries))
	for index := range wanted.Entries {
		var err error
		if entries[index], err = wanted.Entries[index].Entry(); err != nil {
			refuse(response, http.StatusBadRequest, fmt.Sprintf("entry %d: %s", index, err))
			return
		}
	}
	result := make(chan core.Corrections, 1)
	if n.post(input{correct: entries, answer: result}) {
		select {
		case done := <-result:
			answer(response, http.StatusOK, done)
			return
		case <-n.owned:
		}
	}
	refuse(response, http.StatusServiceUnavailable, "the replica is stopping")
}

func (n *Node) postLinks(response http.ResponseWriter, request *http.Request) {
	if n.settings.Wire != "oneshot" {
		refuse(response, http.StatusBadRequest, "frames are duplicated on the oneshot wire alone")
		return
	}
	var wanted map[string]map[string]json.RawMessage
	if !readBody(response, request, &wanted) {
		return
	}
	shares := make(map[string]map[string]int64)
	for _, each := range n.owner.links {
		if each != nil {
			shares[each.name] = map[string]int64{"duplicate_ppm": each.duplicatePpm.Load()}
		}
	}
	for name, changes := range wanted {
		if shares[name] == nil {
			refuse(response, http.StatusBadRequest, fmt.Sprintf("nothing is sent to %q", name))
			return
		}
		for key, text := range changes {
			var ppm int64
			err := wholeNumber(text, 0, 1_000_000, &ppm)
			if key != "duplicate_ppm" {
				err = errors.New("is unknown")
			}
			if err != nil {
				refuse(response, http.StatusBadRequest, fmt.Sprintf("key %q %s", key, err))
				return
			}
			shares[name][key] = ppm
		}
	}
	for _, each := range n.owner.links {
		if each != nil {
			each.duplicatePpm.Store(shares[each.name]["duplicate_ppm"])
		}
	}
	answer(response, http.StatusOK, shares)
}
