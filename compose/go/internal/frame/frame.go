// Package frame reads and writes length-prefixed envelopes.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"driftlab/replica/wire"
)

// SizeMax is the largest body in bytes; a longer one closes the connection.
const SizeMax = 1 << 20

// HeaderSize is the length of the big-endian length prefix in bytes.
const HeaderSize = 4

// ErrTooLarge is reported for a frame over SizeMax.
var ErrTooLarge = errors.New("the frame is over the size limit")

// ErrMalformed is reported for a frame whose body is not an envelope. The stream behind it is
// intact.
var ErrMalformed = errors.New("the frame holds no envelope")

// ErrPartial is reported for a stream that ended or broke inside a frame.
var ErrPartial = errors.New("the stream ended inside a frame")

// Read takes one envelope from a stream. io.EOF means that the stream ended between frames.
func Read(reader io.Reader) (*wire.Envelope, error) {
	var header [HeaderSize]byte
	if count, err := io.ReadFull(reader, header[:]); err != nil {
		return nil, cut(count, err)
	}
	size := binary.BigEndian.Uint32(header[:])
	if size > SizeMax {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(reader, body); err != nil {
		return nil, cut(HeaderSize, err)
	}
	envelope := &wire.Envelope{}
	if err := proto.Unmarshal(body, envelope); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if envelope.GetKind() == wire.Kind_KIND_UNSPECIFIED {
		return nil, fmt.Errorf("%w: it has no kind", ErrMalformed)
	}
	return envelope, nil
}

// cut is the error of a stream that ended after this many bytes of a frame.
func cut(count int, err error) error {
	switch {
	case count == 0:
		return err
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return ErrPartial
	}
	return fmt.Errorf("%w: %w", ErrPartial, err)
}

// Append encodes an envelope as one frame behind the bytes already there.
func Append(buffer []byte, envelope *wire.Envelope) ([]byte, error) {
	start := len(buffer)
	buffer = append(buffer, 0, 0, 0, 0)
	buffer, err := proto.MarshalOptions{}.MarshalAppend(buffer, envelope)
	if err != nil {
		return buffer[:start], err
	}
	size := len(buffer) - start - HeaderSize
	if size > SizeMax {
		return buffer[:start], ErrTooLarge
	}
	binary.BigEndian.PutUint32(buffer[start:], uint32(size))
	return buffer, nil
}
