package message

import (
	"bytes"
	"encoding/binary"
	"math/rand"
	"testing"
)

// frameOf returns a frame with this body.
func frameOf(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// splitPlainly is the reference: it has the whole stream at hand.
func splitPlainly(data []byte) (frames [][]byte, rest []byte, malformed bool) {
	for len(data) >= headerBytes {
		length := int(binary.BigEndian.Uint32(data))
		if length > LargestFrameBytes {
			return frames, data, true
		}
		if len(data) < headerBytes+length {
			break
		}
		frames = append(frames, data[:headerBytes+length])
		data = data[headerBytes+length:]
	}
	return frames, data, false
}

// splitInPieces feeds the splitter pieces whose sizes come from a seed, and compares it with the reference.
func splitInPieces(t *testing.T, data []byte, seed int64) {
	t.Helper()
	wanted, rest, malformed := splitPlainly(data)
	var s splitter
	var got [][]byte
	chooser := rand.New(rand.NewSource(seed))
	refused := false
	for left := data; len(left) > 0 && !refused; {
		size := min(1+chooser.Intn(1+chooser.Intn(64)), len(left))
		err := s.push(left[:size], func(frame []byte) { got = append(got, bytes.Clone(frame)) })
		refused = err != nil
		left = left[size:]
	}
	if refused != malformed {
		t.Fatalf("malformed is %t, want %t", refused, malformed)
	}
	if len(got) != len(wanted) {
		t.Fatalf("%d frames, want %d", len(got), len(wanted))
	}
	for index := range got {
		if !bytes.Equal(got[index], wanted[index]) {
			t.Fatalf("frame %d is % x, want % x", index, got[index], wanted[index])
		}
	}
	if !malformed && !bytes.Equal(s.partial, rest) {
		t.Fatalf("% x is left, want % x", s.partial, rest)
	}
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte{}, int64(0))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 7, 0, 0}, int64(1))
	f.Add([]byte{0, 16, 0, 0, 1}, int64(2))
	f.Add([]byte{0, 0, 0, 2, 1, 2, 0, 16, 0, 1, 5}, int64(3))
	f.Fuzz(splitInPieces)
}

func TestSplitterAgreesWithTheReference(t *testing.T) {
	chooser := rand.New(rand.NewSource(5))
	for round := int64(0); round < 200; round++ {
		var data []byte
		for range chooser.Intn(30) {
			body := make([]byte, chooser.Intn(1+chooser.Intn(200)))
			chooser.Read(body)
			data = append(data, frameOf(body)...)
		}
		if round%3 == 0 {
			data = append(data, 0, 0, 1)
		}
		if round%5 == 0 {
			data = append(data, 255, 255, 255, 255, 1, 2, 3)
		}
		splitInPieces(t, data, round)
	}
}

func TestFrameLengthLimit(t *testing.T) {
	for _, example := range []struct {
		length    uint32
		malformed bool
	}{{0, false}, {LargestFrameBytes, false}, {LargestFrameBytes + 1, true}, {1<<32 - 1, true}} {
		data := binary.BigEndian.AppendUint32(nil, example.length)
		var s splitter
		var err error
		for index := range data {
			err = s.push(data[index:index+1], func([]byte) {})
		}
		if (err != nil) != example.malformed {
			t.Errorf("length %d: error %v, malformed should be %t", example.length, err, example.malformed)
		}
	}
}

func TestLargeFrameLeavesNoLargeBuffer(t *testing.T) {
	var s splitter
	frame := frameOf(make([]byte, LargestFrameBytes))
	emitted := 0
	for _, piece := range [][]byte{frame[:100], frame[100:]} {
		if err := s.push(piece, func(frame []byte) { emitted += len(frame) }); err != nil {
			t.Fatal(err)
		}
	}
	if emitted != len(frame) || cap(s.partial) > keptBytes {
		t.Errorf("emitted %d bytes of %d, %d kept", emitted, len(frame), cap(s.partial))
	}
}
