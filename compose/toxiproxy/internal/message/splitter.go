package message

import (
	"encoding/binary"
	"errors"
)

const (
	headerBytes = 4
	// LargestFrameBytes is the longest body a frame may announce. A longer one is taken for a stream out of step.
	LargestFrameBytes = 1 << 20
	// keptBytes bounds the buffer that is kept from one split frame for the next.
	keptBytes = 64 << 10
)

var errMalformed = errors.New("the length of a frame is over 1 MiB")

// splitter cuts a byte stream into frames: a length of 4 bytes, big-endian, and as many bytes of body. Frames may arrive
// split or joined in any way.
type splitter struct {
	partial []byte // the beginning of a frame whose end has not arrived
}

// push takes the next bytes of the stream and passes every frame they complete, header included, to emit. The frame is
// only lent: emit must copy what it keeps. After errMalformed the stream has no frame boundaries any more.
func (s *splitter) push(data []byte, emit func(frame []byte)) error {
	for len(data) > 0 {
		if len(s.partial) > 0 {
			rest, err := s.complete(data, emit)
			if err != nil {
				return err
			}
			data = rest
			continue
		}
		size, err := frameBytes(data)
		if err != nil {
			return err
		}
		if len(data) < size {
			s.partial = append(s.partial, data...)
			return nil
		}
		emit(data[:size])
		data = data[size:]
	}
	return nil
}

// complete adds data to the frame that has begun, and returns what is left over.
func (s *splitter) complete(data []byte, emit func(frame []byte)) ([]byte, error) {
	size, err := frameBytes(s.partial)
	if err != nil {
		return nil, err
	}
	taken := min(size-len(s.partial), len(data))
	s.partial = append(s.partial, data[:taken]...)
	// Completing the header may reveal a body, or a length that is too large.
	if size, err = frameBytes(s.partial); err != nil {
		return nil, err
	}
	if len(s.partial) == size {
		emit(s.partial)
		s.reset()
	}
	return data[taken:], nil
}

// reset forgets the frame that has begun.
func (s *splitter) reset() {
	if cap(s.partial) > keptBytes {
		s.partial = nil
	}
	s.partial = s.partial[:0]
}

// frameBytes returns the size of the frame that begins with these bytes, or of its header where that is incomplete.
func frameBytes(data []byte) (int, error) {
	if len(data) < headerBytes {
		return headerBytes, nil
	}
	length := binary.BigEndian.Uint32(data)
	if length > LargestFrameBytes {
		return 0, errMalformed
	}
	return headerBytes + int(length), nil
}
