package message

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

const twoRowsJSON = `{"key":1,"rows":[` + cleanRowJSON + `,[1,0,0,0,0,-1,-1,-1,-1]]}`

func twoRows(t *testing.T) *Toxic {
	t.Helper()
	return newToxic(t, twoRowsJSON)
}

func update(t *testing.T, toxic *Toxic, format string, values ...any) {
	t.Helper()
	if err := json.Unmarshal(fmt.Appendf(nil, format, values...), toxic); err != nil {
		t.Fatal(err)
	}
}

func TestAPlannedRowComesIntoForceAtItsTime(t *testing.T) {
	toxic := twoRows(t)
	atNS := monotonicNS() + int64(50*time.Millisecond)
	update(t, toxic, `{"row":1,"at_ns":%d}`, atNS)
	before := look(t, toxic)
	if before.Row != 0 || len(before.Planned) != 1 || before.Planned[0] != [2]int64{1, atNS} {
		t.Fatalf("planned %+v", before)
	}
	toxic.mutex.Lock()
	toxic.advance(atNS - startMonotonicNS - 1)
	early := toxic.row
	toxic.advance(atNS - startMonotonicNS)
	due := toxic.row
	toxic.mutex.Unlock()
	if early != 0 || due != 1 {
		t.Errorf("row %d a nanosecond before, %d at the time", early, due)
	}
	if after := look(t, toxic); after.Row != 1 || after.SwitchedNS != atNS || len(after.Planned) != 0 {
		t.Errorf("after it %+v", after)
	}
}

func TestAPlanForThePastHoldsAtOnceAndSaysWhen(t *testing.T) {
	toxic := twoRows(t)
	asked := monotonicNS()
	update(t, toxic, `{"row":1,"at_ns":1}`)
	if found := look(t, toxic); found.Row != 1 || found.SwitchedNS < asked {
		t.Errorf("switched at %d, asked at %d: %+v", found.SwitchedNS, asked, found)
	}
}

func TestASwitchAtOnceForgetsWhatWasPlanned(t *testing.T) {
	toxic := twoRows(t)
	update(t, toxic, `{"row":1,"at_ns":%d}`, monotonicNS()+int64(time.Hour))
	update(t, toxic, `{"row":0}`)
	if found := look(t, toxic); len(found.Planned) != 0 {
		t.Errorf("still planned: %v", found.Planned)
	}
}

func TestPlansThatCannotBeKeptAreRefused(t *testing.T) {
	toxic := twoRows(t)
	later := monotonicNS() + int64(time.Hour)
	update(t, toxic, `{"row":1,"at_ns":%d}`, later)
	for _, example := range []struct{ attributes, sentence string }{
		{`{"at_ns":5}`, "at_ns needs a row"},
		{`{"row":1,"at_ns":-1}`, "at_ns must lie in"},
		{`{"row":1,"at_ns":1.5}`, "at_ns must be a 64-bit integer"},
		{`{"row":2,"at_ns":5}`, "row 2 is out of range"},
		{`{"key":1,"row":1,"at_ns":5}`, "at_ns goes with a row alone"},
		{fmt.Sprintf(`{"row":0,"at_ns":%d}`, later-1), "before that of a switch"},
	} {
		err := json.Unmarshal([]byte(example.attributes), toxic)
		if err == nil || !strings.Contains(err.Error(), example.sentence) {
			t.Errorf("%s: %v", example.attributes, err)
		}
	}
	for range plannedLimit - 1 {
		update(t, toxic, `{"row":0,"at_ns":%d}`, later)
	}
	if err := json.Unmarshal(fmt.Appendf(nil, `{"row":0,"at_ns":%d}`, later), toxic); err == nil {
		t.Error("no limit")
	}
	if found := look(t, toxic); len(found.Planned) != plannedLimit || found.Row != 0 {
		t.Errorf("%d planned", len(found.Planned))
	}
}
