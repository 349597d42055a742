package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"

	"driftlab/replica/wire"
)

func encoded(t testing.TB, envelopes ...*wire.Envelope) []byte {
	t.Helper()
	var buffer []byte
	for _, envelope := range envelopes {
		var err error
		if buffer, err = Append(buffer, envelope); err != nil {
			t.Fatal(err)
		}
	}
	return buffer
}

func write(payload int) *wire.Envelope {
	return &wire.Envelope{
		Kind: wire.Kind_KIND_WRITE, IdempotencyToken: "t", Payload: make([]byte, payload),
	}
}

func TestFramesSurviveSplitting(t *testing.T) {
	stream := encoded(t, write(3), write(0), write(70_000))
	for name, reader := range map[string]io.Reader{
		"whole":     bytes.NewReader(stream),
		"by a byte": iotest.OneByteReader(bytes.NewReader(stream)),
		"by halves": iotest.HalfReader(bytes.NewReader(stream)),
	} {
		for _, size := range []int{3, 0, 70_000} {
			envelope, err := Read(reader)
			if err != nil || !proto.Equal(envelope, write(size)) {
				t.Fatalf("%s: %d bytes: %v", name, size, err)
			}
		}
		if _, err := Read(reader); err != io.EOF {
			t.Errorf("%s: the end is %v", name, err)
		}
	}
}

func TestPartialFrame(t *testing.T) {
	stream := encoded(t, write(10))
	for size := 1; size < len(stream); size++ {
		if _, err := Read(bytes.NewReader(stream[:size])); err != ErrPartial {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestMalformedFrameLeavesTheStreamIntact(t *testing.T) {
	stream := []byte{0, 0, 0, 2, 0xff, 0xff, 0, 0, 0, 0}
	reader := bytes.NewReader(append(stream, encoded(t, write(1))...))
	for range 2 {
		if _, err := Read(reader); !errors.Is(err, ErrMalformed) {
			t.Fatalf("got %v", err)
		}
	}
	if _, err := Read(reader); err != nil {
		t.Errorf("the next frame: %v", err)
	}
}

func TestSizeLimit(t *testing.T) {
	header := binary.BigEndian.AppendUint32(nil, SizeMax+1)
	if _, err := Read(bytes.NewReader(header)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if _, err := Append(nil, write(SizeMax)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	fits := write(SizeMax - 100)
	if _, err := Read(bytes.NewReader(encoded(t, fits))); err != nil {
		t.Errorf("a frame within the limit: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 1, 0x08})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Add(encoded(f, write(3), write(0)))
	f.Fuzz(func(t *testing.T, stream []byte) {
		reader := bytes.NewReader(stream)
		for {
			envelope, err := Read(reader)
			if errors.Is(err, ErrMalformed) {
				continue
			}
			if err != nil {
				return
			}
			again, err := Read(bytes.NewReader(encoded(t, envelope)))
			if err != nil || !proto.Equal(envelope, again) {
				t.Fatalf("%v does not survive: %v", envelope, err)
			}
		}
	})
}
