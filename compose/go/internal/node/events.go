package node

import (
	"encoding/json"
	"io"
	"strconv"

	"driftlab/replica/internal/core"
)

// eventLog writes one line for each event. Nothing stays in its buffer between two steps of
// the owner: an event that is not on its way before its consequences may never be seen.
type eventLog struct {
	writer io.Writer
	buffer []byte
}

func (e *eventLog) add(event *core.Emit) {
	if e.writer == nil {
		return
	}
	line := append(e.buffer, `{"t":`...)
	line = strconv.AppendInt(line, event.TimeNs, 10)
	line = append(line, `,"e":"`...)
	line = append(line, event.Name...)
	line = append(line, '"')
	switch event.Name {
	case "start":
		line = appendNumber(line, "incarnation", event.Incarnation)
		line = appendNumber(line, "prefix", event.Prefix)
	case "mode":
		line = appendText(line, "mode", event.Mode)
	case "rejected":
		line = appendText(line, "token", event.Token)
	default:
		line = appendNumber(line, "seq", event.Sequence)
		line = appendText(line, "token", event.Token)
	}
	e.buffer = append(line, '}', '\n')
}

// flush hands the lines of this step to the operating system.
func (e *eventLog) flush() error {
	if len(e.buffer) == 0 {
		return nil
	}
	_, err := e.writer.Write(e.buffer)
	e.buffer = e.buffer[:0]
	return err
}

func appendNumber(line []byte, key string, value uint64) []byte {
	line = append(line, `,"`...)
	line = append(line, key...)
	line = append(line, `":`...)
	return strconv.AppendUint(line, value, 10)
}

func appendText(line []byte, key, value string) []byte {
	quoted, err := json.Marshal(value)
	if err != nil {
		panic(err) // A string always has a JSON form.
	}
	line = append(line, `,"`...)
	line = append(line, key...)
	line = append(line, `":`...)
	return append(line, quoted...)
}
