package core

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"slices"
	"strings"
)

// Mix turns a key and a word into 63 well-spread bits. All arithmetic is modulo 2^64.
func Mix(key, word uint64) uint64 {
	z := key*0xD1342543DE82EF95 + word + 0x9E3779B97F4A7C15
	z ^= z >> 30
	z *= 0xBF58476D1CE4E5B9
	z ^= z >> 27
	z *= 0x94D049BB133111EB
	z ^= z >> 31
	return z >> 1
}

// Scale maps a 63-bit draw onto 0..bound-1 with integers only, so that every language that
// replays a draw reaches the same value. The product is kept in 128 bits.
func Scale(draw, bound uint64) uint64 {
	high, low := bits.Mul64(draw>>39, bound)
	return high<<40 | low>>24
}

// PayloadWord condenses a payload to the 63 bits that enter the prefix hash.
func PayloadWord(payload []byte) uint64 {
	sum := sha256.Sum256(payload)
	return binary.BigEndian.Uint64(sum[:8]) >> 1
}

// ExtendHash is the hash of a gapless prefix after one more update.
func ExtendHash(previous, sequence, payloadWord uint64) uint64 {
	return Mix(Mix(previous, sequence), payloadWord)
}

// Cell is what one key holds: the update with the highest sequence applied to it.
type Cell struct {
	Key      string
	Sequence uint64
	Payload  []byte
	// TimestampNs is that of the update.
	TimestampNs int64
}

// appendHead encodes all of a cell's row but its payload.
func (c *Cell) appendHead(row []byte) []byte {
	row = binary.BigEndian.AppendUint32(row, uint32(len(c.Key)))
	row = append(row, c.Key...)
	row = binary.BigEndian.AppendUint64(row, c.Sequence)
	return binary.BigEndian.AppendUint32(row, uint32(len(c.Payload)))
}

// DigestCells is the state digest in lower-case hex. It sorts the slice it is given.
func DigestCells(cells []Cell) string {
	slices.SortFunc(cells, func(a, b Cell) int { return strings.Compare(a.Key, b.Key) })
	hash := sha256.New()
	var head []byte
	for _, cell := range cells {
		head = cell.appendHead(head[:0])
		hash.Write(head)
		hash.Write(cell.Payload)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
