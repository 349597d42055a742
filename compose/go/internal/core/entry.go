package core

import (
	"errors"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"driftlab/replica/wire"
)

// SchemaVersion is written into every frame this replica sends.
const SchemaVersion = 1

// Entry is one update of the changelog. Its payload is kept as it came.
type Entry struct {
	// Sequence starts at 1.
	Sequence      uint64
	TimestampNs   int64
	Origin        string
	Token         string
	CorrelationID string
	Payload       []byte
	// Key is read out of the payload.
	Key string
	// ClockNs is when the leader gave the entry its sequence, by a clock that is never skewed;
	// 0 where that is not known. It is not stored.
	ClockNs int64
	// Traceparent names the span of the write that the leader accepted. It is not stored.
	Traceparent string
}

var errPayload = errors.New("the payload is not a serialised Update")

// PayloadKey reads field 1 of a payload and skips the rest without interpreting it, so that
// fields unknown to this replica do no harm. As in any protobuf message the last one counts.
func PayloadKey(payload []byte) (string, error) {
	key := ""
	for len(payload) > 0 {
		number, kind, size := protowire.ConsumeTag(payload)
		if size < 0 {
			return "", errPayload
		}
		payload = payload[size:]
		if number == 1 && kind == protowire.BytesType {
			value, length := protowire.ConsumeBytes(payload)
			if length < 0 || !utf8.Valid(value) {
				return "", errPayload
			}
			key, payload = string(value), payload[length:]
			continue
		}
		size = protowire.ConsumeFieldValue(number, kind, payload)
		if size < 0 {
			return "", errPayload
		}
		payload = payload[size:]
	}
	return key, nil
}

// EntryFromEnvelope reads the update out of a frame.
func EntryFromEnvelope(envelope *wire.Envelope) (Entry, error) {
	key, err := PayloadKey(envelope.GetPayload())
	if err != nil {
		return Entry{}, err
	}
	return Entry{
		Sequence:      envelope.GetSequence(),
		TimestampNs:   envelope.GetTimestampNs(),
		Origin:        envelope.GetOrigin(),
		Token:         envelope.GetIdempotencyToken(),
		CorrelationID: envelope.GetCorrelationId(),
		Payload:       envelope.GetPayload(),
		Key:           key,
		ClockNs:       envelope.GetClockNs(),
	}, nil
}

// Envelope is the frame that carries the update.
func (e *Entry) Envelope(kind wire.Kind, source string, attempt int) *wire.Envelope {
	return &wire.Envelope{
		SchemaVersion:    SchemaVersion,
		Kind:             kind,
		Source:           source,
		Sequence:         e.Sequence,
		Origin:           e.Origin,
		TimestampNs:      e.TimestampNs,
		CorrelationId:    e.CorrelationID,
		IdempotencyToken: e.Token,
		Attempt:          uint32(attempt),
		Payload:          e.Payload,
	}
}
