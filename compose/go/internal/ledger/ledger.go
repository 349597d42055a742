// Package ledger is the changelog as text: snapshots, and the entries of corrections.
package ledger

import (
	"encoding/hex"
	"errors"
	"strconv"

	"driftlab/replica/internal/core"
)

// Header is the first line of a snapshot.
type Header struct {
	Prefix      uint64 `json:"prefix"`
	PrefixHash  string `json:"prefix_hash"`
	Digest      string `json:"digest"`
	MonotonicNs int64  `json:"monotonic_ns"`
}

// Line is one entry. Every key has to be there.
type Line struct {
	Sequence    *string `json:"sequence"`
	TimestampNs *int64  `json:"timestamp_ns"`
	Origin      *string `json:"origin"`
	Token       *string `json:"token"`
	Payload     *string `json:"payload"`
}

// FromEntry writes an entry.
func FromEntry(entry *core.Entry) Line {
	sequence := strconv.FormatUint(entry.Sequence, 10)
	payload := hex.EncodeToString(entry.Payload)
	return Line{&sequence, &entry.TimestampNs, &entry.Origin, &entry.Token, &payload}
}

var (
	errMissing  = errors.New("sequence, timestamp_ns, origin, token and payload must be there")
	errSequence = errors.New("sequence must be a whole number from 1, as text")
	errPayload  = errors.New("payload must be hex")
)

// Entry reads it.
func (l *Line) Entry() (core.Entry, error) {
	if l.Sequence == nil || l.TimestampNs == nil || l.Origin == nil || l.Token == nil ||
		l.Payload == nil {
		return core.Entry{}, errMissing
	}
	sequence, err := strconv.ParseUint(*l.Sequence, 10, 64)
	if err != nil || sequence == 0 {
		return core.Entry{}, errSequence
	}
	payload, err := hex.DecodeString(*l.Payload)
	if err != nil {
		return core.Entry{}, errPayload
	}
	key, err := core.PayloadKey(payload)
	if err != nil {
		return core.Entry{}, err
	}
	return core.Entry{
		Sequence: sequence, TimestampNs: *l.TimestampNs, Origin: *l.Origin, Token: *l.Token,
		Payload: payload, Key: key,
	}, nil
}

// State is what a row of entries gives.
type State struct {
	cells map[string]core.Cell
	hash  uint64
	bug   core.Bug
	// Count is the number of entries taken.
	Count uint64
}

// NewState is that of no entries. The bug may make it tell numbers wrongly.
func NewState(bug core.Bug) *State { return &State{cells: make(map[string]core.Cell), bug: bug} }

// Take adds the next entry.
func (s *State) Take(entry *core.Entry) {
	s.Count++
	s.hash = core.ExtendHash(s.hash, entry.Sequence, core.PayloadWord(entry.Payload))
	if held, found := s.cells[entry.Key]; !found || held.Sequence <= entry.Sequence {
		s.cells[entry.Key] = core.Cell{
			Key: entry.Key, Sequence: s.bug.Number(entry.Sequence), Payload: entry.Payload,
		}
	}
}

// PrefixHash is the hash of the entries, decimal.
func (s *State) PrefixHash() string { return strconv.FormatUint(s.hash, 10) }

// Digest is the digest of the state they give.
func (s *State) Digest() string {
	cells := make([]core.Cell, 0, len(s.cells))
	for _, cell := range s.cells {
		cells = append(cells, cell)
	}
	return core.DigestCells(cells)
}
