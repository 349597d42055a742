package message

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"driftlab/toxiproxy/internal/fate"
)

const cleanRowJSON = "[0,0,0,0,0,-1,-1,-1,-1]"

func tableJSON(delayNS int64) string {
	return "[" + strings.TrimSuffix(strings.Repeat(fmt.Sprintf("%d,", delayNS), fate.Knots), ",") + "]"
}

// newToxic returns a toxic with these attributes.
func newToxic(t testing.TB, attributes string) *Toxic {
	t.Helper()
	toxic := new(Toxic)
	if err := json.Unmarshal([]byte(attributes), toxic); err != nil {
		t.Fatal(err)
	}
	return toxic
}

// view is what the toxic answers to a GET.
type view struct {
	Key         int64
	Row         int
	SwitchedNS  int64 `json:"switched_ns"`
	Planned     [][2]int64
	Rows        [][]int64
	Extras      [][]int64
	Leaves      [][]int64
	MemoryWords int `json:"memory_words"`
	TableCount  int `json:"table_count"`
	Counts      []RowCounts
	LinkCounts
}

func look(t testing.TB, toxic *Toxic) view {
	t.Helper()
	data, err := json.Marshal(toxic)
	if err != nil {
		t.Fatal(err)
	}
	var answer view
	if err := json.Unmarshal(data, &answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestRefusedAttributesChangeNothing(t *testing.T) {
	start := `{"key":5,"tables":[` + tableJSON(7) + `],"rows":[` + cleanRowJSON + `,[1,0,0,0,0,0,-1,-1,-1]],"row":1}`
	for _, example := range []struct{ attributes, sentence string }{
		{`{"row":2}`, "row 2 is out of range"},
		{`{"row":-1}`, "row -1 is out of range"},
		{`{"row":9223372036854775808}`, "row must be a 64-bit integer"},
		{`{"row":1.5}`, "row must be a 64-bit integer"},
		{`{"row":"1"}`, "row must be a 64-bit integer"},
		{`{"row":null}`, "row must be a 64-bit integer"},
		{`{"row":0,"rwo":1}`, `unknown attribute "rwo"`},
		{`{"Row":0}`, `unknown attribute "Row"`},
		{`{"row":0,"counts":[]}`, `unknown attribute "counts"`},
		{`{"row":0,"key":-1}`, "key must lie in 0..9223372036854775807"},
		{`{"key":6,"rows":[]}`, "there must be 1 to 4096 rows, not 0"},
		{`{"rows":[` + cleanRowJSON + `]}`, "row 1 is out of range: there are 1 rows"},
		{`{"rows":[[0,0,0,0,0,-1,-1,-1]],"row":0}`, "row 0 must have 9 columns, not 8"},
		{`{"rows":[[0,0,0,0,0,-1,-1,-1,null]],"row":0}`, "rows must be a list of lists"},
		{`{"rows":null}`, "rows must be a list of lists"},
		{`{"rows":[[2,0,0,0,0,-1,-1,-1,-1]],"row":0}`, "cut of row 0 must lie in 0..1"},
		{`{"rows":[[0,1000001,0,0,0,-1,-1,-1,-1]],"row":0}`, "loss_ppm of row 0 must lie in 0..1000000"},
		{`{"rows":[[0,0,-1,0,0,-1,-1,-1,-1]],"row":0}`, "duplicate_ppm of row 0"},
		{`{"rows":[[0,0,0,-5,0,-1,-1,-1,-1]],"row":0}`, "reorder_ppm of row 0"},
		{`{"rows":[[0,0,0,0,549755813889,-1,-1,-1,-1]],"row":0}`, "reorder_by_ns of row 0"},
		{`{"rows":[[0,0,0,0,0,1,-1,-1,-1]],"row":0}`, "row 0 names table 1, but there are 1 tables"},
		{`{"rows":[[0,0,0,0,0,-2,-1,-1,-1]],"row":0}`, "row 0 names table -2"},
		{`{"tables":[]}`, "row 1 names table 0, but there are 0 tables"},
		{`{"tables":[[1,2,3]]}`, "table 0 must have 4145 knots, not 3"},
		{`{"tables":[` + tableJSON(-1) + `]}`, "knot 0 of table 0 must lie in 0..549755813888 ns"},
		{`{"tables":[` + tableJSON(1<<39+1) + `]}`, "knot 0 of table 0"},
		{`{"tables":[` + strings.TrimSuffix(strings.Repeat("[],", 257), ",") + `]}`, "at most 256 tables"},
		{`[]`, "the attributes must be an object"},
	} {
		toxic := newToxic(t, start)
		before := look(t, toxic)
		err := json.Unmarshal([]byte(example.attributes), toxic)
		if err == nil || !strings.Contains(err.Error(), example.sentence) {
			t.Errorf("%.60s: error %v, want %q", example.attributes, err, example.sentence)
		}
		if after := look(t, toxic); !reflect.DeepEqual(before, after) {
			t.Errorf("%.60s: refused, but %v became %v", example.attributes, before, after)
		}
	}
}

func TestNewToxicNeedsKeyAndRows(t *testing.T) {
	for _, attributes := range []string{`{}`, `{"row":0}`, `{"key":1}`, `{"rows":[` + cleanRowJSON + `]}`} {
		if err := json.Unmarshal([]byte(attributes), new(Toxic)); err == nil {
			t.Errorf("%s was accepted for a new toxic", attributes)
		}
	}
}

func TestUpdateKeepsWhatItDoesNotName(t *testing.T) {
	toxic := newToxic(t, `{"key":9223372036854775807,"tables":[`+tableJSON(7)+`],"rows":[`+cleanRowJSON+
		`,[1,0,0,0,0,0,-1,-1,-1]]}`)
	wanted := look(t, toxic)
	if wanted.Row != 0 || wanted.Key != 1<<63-1 || wanted.TableCount != 1 || len(wanted.Rows) != 2 ||
		len(wanted.Counts) != 2 || wanted.SwitchedNS != 0 {
		t.Fatalf("unexpected start %v", wanted)
	}
	wanted.Row = 1
	for _, attributes := range []string{`{"row":1}`, `{}`} {
		if err := json.Unmarshal([]byte(attributes), toxic); err != nil {
			t.Fatal(err)
		}
		got := look(t, toxic)
		if wanted.SwitchedNS == 0 {
			wanted.SwitchedNS = got.SwitchedNS // of the first update; the second does not switch
			if now := monotonicNS(); got.SwitchedNS < now-int64(time.Second) || got.SwitchedNS > now {
				t.Errorf("switched at %d, and now it is %d", got.SwitchedNS, now)
			}
		}
		if !reflect.DeepEqual(got, wanted) {
			t.Errorf("after %s: %v, want %v", attributes, got, wanted)
		}
	}
	if strings.Contains(fmt.Sprint(wanted.Rows), "7") {
		t.Error("the answer holds a table")
	}
}
