package ledger

import (
	"encoding/json"
	"reflect"
	"testing"

	"driftlab/replica/internal/core"
)

func TestEntriesSurvive(t *testing.T) {
	entry := core.Entry{
		Sequence: 1<<63 + 1, TimestampNs: -5, Origin: "leader", Token: "t \"\n", Key: "k",
		Payload: []byte("\x0a\x01k\xfa\x01\x04next"),
	}
	text, err := json.Marshal(FromEntry(&entry))
	if err != nil {
		t.Fatal(err)
	}
	var line Line
	if err := json.Unmarshal(text, &line); err != nil {
		t.Fatal(err)
	}
	if again, err := line.Entry(); err != nil || !reflect.DeepEqual(again, entry) {
		t.Errorf("%+v: %v", again, err)
	}
}

func TestBadLinesAreRefused(t *testing.T) {
	for _, text := range []string{
		`{}`, `{"sequence":"1","timestamp_ns":1,"origin":"l","token":"t"}`,
		`{"sequence":"0","timestamp_ns":1,"origin":"l","token":"t","payload":""}`,
		`{"sequence":"-1","timestamp_ns":1,"origin":"l","token":"t","payload":""}`,
		`{"sequence":"1","timestamp_ns":1,"origin":"l","token":"t","payload":"0"}`,
		`{"sequence":"1","timestamp_ns":1,"origin":"l","token":"t","payload":"0a05"}`,
	} {
		var line Line
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if _, err := line.Entry(); err == nil {
			t.Errorf("taken: %s", text)
		}
	}
}

// FuzzLine feeds any text: what is taken is written again as it was.
func FuzzLine(f *testing.F) {
	f.Add([]byte(`{"sequence":"1","timestamp_ns":1,"origin":"l","token":"t","payload":"0a016b"}`))
	f.Add([]byte(`{"sequence":"18446744073709551615","timestamp_ns":-1,"origin":"","token":"","payload":""}`))
	f.Add([]byte(`{"sequence":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var line Line
		if json.Unmarshal(text, &line) != nil {
			return
		}
		entry, err := line.Entry()
		if err != nil {
			return
		}
		written := FromEntry(&entry)
		if again, err := written.Entry(); err != nil || !reflect.DeepEqual(again, entry) {
			t.Fatalf("%+v does not survive: %v", entry, err)
		}
	})
}
