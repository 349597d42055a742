package fate

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// golden reads a file of vectors written from the Python reference.
func golden(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "golden", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func number(t *testing.T, text string) int64 {
	t.Helper()
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

type drawVectors struct {
	Mix   []struct{ Key, Word, Value string }
	Scale []struct{ Draw, Bound, Value string }
	Below []struct {
		Draw       string
		PPM, Value int64
	}
}

func TestDrawsMatchTheReference(t *testing.T) {
	var vectors drawVectors
	golden(t, "draws.json", &vectors)
	if len(vectors.Mix) < 64 || len(vectors.Scale) < 64 || len(vectors.Below) < 64 {
		t.Fatal("the vectors are too few to mean anything")
	}
	for _, vector := range vectors.Mix {
		got := Mix(number(t, vector.Key), number(t, vector.Word))
		if got != number(t, vector.Value) {
			t.Errorf("Mix(%s, %s) = %d, want %s", vector.Key, vector.Word, got, vector.Value)
		}
	}
	for _, vector := range vectors.Scale {
		got := Scale(number(t, vector.Draw), number(t, vector.Bound))
		if got != number(t, vector.Value) {
			t.Errorf("Scale(%s, %s) = %d, want %s", vector.Draw, vector.Bound, got, vector.Value)
		}
	}
	for _, vector := range vectors.Below {
		got := Below(number(t, vector.Draw), vector.PPM)
		if got != (vector.Value == 1) {
			t.Errorf("Below(%s, %d) = %t, want %d", vector.Draw, vector.PPM, got, vector.Value)
		}
	}
}

func TestFatesMatchTheReference(t *testing.T) {
	var vectors struct {
		Tables []Table
		Rows   []Row
		Cases  []struct {
			Key           string
			Row           int
			First, Second int64
		}
	}
	golden(t, "fate.json", &vectors)
	seen := map[string]int{}
	for _, vector := range vectors.Cases {
		got := Decide(&vectors.Rows[vector.Row], vectors.Tables, number(t, vector.Key))
		if got.First != vector.First || got.Second != vector.Second {
			t.Errorf("row %d, key %s: %d and %d, want %d and %d", vector.Row, vector.Key,
				got.First, got.Second, vector.First, vector.Second)
		}
		switch {
		case got.First == CutOff:
			seen["cut"]++
		case got.First == Lost:
			seen["lost"]++
		case got.Second >= 0:
			seen["duplicated"]++
		default:
			seen["delivered"]++
		}
		for _, late := range got.Reordered {
			if late {
				seen["reordered"]++
			}
		}
	}
	for _, kind := range []string{"cut", "lost", "duplicated", "delivered", "reordered"} {
		if seen[kind] == 0 {
			t.Errorf("no vector was %s", kind)
		}
	}
}

func TestLookupsMatchTheReferenceIntoTheTail(t *testing.T) {
	var vectors struct {
		Tables  []Table
		Lookups []struct {
			Table int
			Draw  string
			Value int64
		}
	}
	golden(t, "fate.json", &vectors)
	if len(vectors.Lookups) < 200 {
		t.Fatal("the vectors are too few to mean anything")
	}
	for _, vector := range vectors.Lookups {
		if got := Lookup(vectors.Tables[vector.Table], number(t, vector.Draw)); got != vector.Value {
			t.Errorf("Lookup(table %d, %s) = %d, want %d", vector.Table, vector.Draw, got, vector.Value)
		}
	}
}

func TestMessageKeysMatchTheReference(t *testing.T) {
	for _, example := range []struct{ link, number, want int64 }{
		{0, 0, 3680970555730923744},
		{77, 0, 4742331024904959564},
		{77, 1, 1878242018461618420},
		{1<<63 - 1, 123_456_789, 4459237593672581358},
	} {
		if got := MessageKey(example.link, example.number); got != example.want {
			t.Errorf("MessageKey(%d, %d) = %d, want %d", example.link, example.number, got, example.want)
		}
	}
}

func TestLookupMeetsKnotsAndInterpolates(t *testing.T) {
	table := make(Table, Knots)
	for index := range table {
		table[index] = int64(index) * 1_000
	}
	const knot = int64(1) << 51
	for _, example := range []struct{ draw, want int64 }{
		{0, 0}, {knot, 1_000}, {knot / 2, 500}, {knot + knot/4, 1_250},
		{4095 * knot, 4_095_000}, {4095*knot + knot/2, 4_099_000}, {4095*knot + knot/16, 4_095_500},
		{1<<63 - 1 - (knot>>12 - 1), 4_143_000}, {1<<63 - 1, 4_143_999},
	} {
		if got := Lookup(table, example.draw); got != example.want {
			t.Errorf("Lookup at %d = %d, want %d", example.draw, got, example.want)
		}
	}
	// A falling step must round towards minus infinity, as the reference does.
	table[1] = -1
	if got := Lookup(table, knot/2); got != -1 {
		t.Errorf("half of a step down by 1 = %d, want -1", got)
	}
}

func TestOtherKeysMeetOtherFates(t *testing.T) {
	row := CleanRow
	row[LossPPM] = 500_000
	differ := 0
	for index := int64(0); index < 1_000; index++ {
		one := Decide(&row, nil, MessageKey(1, index))
		two := Decide(&row, nil, MessageKey(2, index))
		if one.First != two.First {
			differ++
		}
	}
	if differ < 400 || differ > 600 {
		t.Errorf("%d of 1000 fates differ between two keys, want about half", differ)
	}
}
