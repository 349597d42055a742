package message

import (
	"bytes"
	"encoding/binary"
)

// Fields of an Envelope and wire types of protobuf that finding the kind needs.
const (
	kindField = 2

	varintType  = 0
	fixed64Type = 1
	bytesType   = 2
	fixed32Type = 5
)

// noTag is a tag of the field 0 and the wire type 7: there is neither, so no decoder takes a body that begins with it.
const noTag = 0x07

// damaged returns a copy of a frame whose length holds and whose body is no protobuf message. The connection stays in
// step, and the receiver cannot but notice: the wire has no checksum, so that damage elsewhere might be stored.
func damaged(frame []byte) []byte {
	garbage := bytes.Clone(frame)
	if len(garbage) > headerBytes { // a body without bytes is no message of any kind as it is
		garbage[headerBytes] = noTag
	}
	return garbage
}

// kindOf returns the kind that an Envelope says it is, as its receiver would read it: the last one counts, and 0 is none.
func kindOf(frame []byte) int64 {
	kind := int64(0)
	for data := frame[headerBytes:]; len(data) > 0; {
		tag, size := binary.Uvarint(data)
		if size <= 0 {
			return 0
		}
		data = data[size:]
		value, size := binary.Uvarint(data)
		switch tag & 7 {
		case varintType:
			if tag>>3 == kindField {
				kind = int64(uint32(value))
			}
		case fixed64Type:
			size = 8
		case bytesType:
			if size <= 0 || value > uint64(len(data)-size) {
				return 0
			}
			size += int(value)
		case fixed32Type:
			size = 4
		default:
			return 0
		}
		if size <= 0 || size > len(data) {
			return 0
		}
		data = data[size:]
	}
	return kind
}
