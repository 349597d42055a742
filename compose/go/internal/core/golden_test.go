package core

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// golden reads vectors that all implementations are held to.
func golden(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "golden", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// word reads a 64-bit number; negative ones stand for their two's complement.
func word(t *testing.T, text string) uint64 {
	t.Helper()
	if value, err := strconv.ParseUint(text, 10, 64); err == nil {
		return value
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return uint64(value)
}

func TestGoldenDraws(t *testing.T) {
	var vectors struct {
		Mix   []struct{ Key, Word, Value string }
		Scale []struct{ Draw, Bound, Value string }
	}
	golden(t, "draws.json", &vectors)
	if len(vectors.Mix) == 0 || len(vectors.Scale) == 0 {
		t.Fatal("no vectors")
	}
	for _, row := range vectors.Mix {
		if got := Mix(word(t, row.Key), word(t, row.Word)); got != word(t, row.Value) {
			t.Errorf("mix %+v: got %d", row, got)
		}
	}
	for _, row := range vectors.Scale {
		if got := Scale(word(t, row.Draw), word(t, row.Bound)); got != word(t, row.Value) {
			t.Errorf("scale %+v: got %d", row, got)
		}
	}
}

func TestGoldenBackoff(t *testing.T) {
	var vectors struct {
		Cases []struct {
			Backoff, Jitter string
			BaseNs          int64 `json:"base_ns"`
			CapNs           int64 `json:"cap_ns"`
			Attempt         int
			PreviousNs      int64 `json:"previous_ns"`
			Draw            string
			WaitNs          int64 `json:"wait_ns"`
		}
	}
	golden(t, "backoff.json", &vectors)
	if len(vectors.Cases) == 0 {
		t.Fatal("no vectors")
	}
	for _, row := range vectors.Cases {
		policy := Policy{
			Backoff: row.Backoff, Jitter: row.Jitter, BaseNs: row.BaseNs, CapNs: row.CapNs,
		}
		got := policy.WaitNs(row.Attempt, word(t, row.Draw), row.PreviousNs)
		if got != row.WaitNs {
			t.Errorf("%+v: got %d", row, got)
		}
	}
}

func TestWindowDoesNotOverflow(t *testing.T) {
	policy := Policy{Backoff: "exponential", BaseNs: 3, CapNs: 1 << 59}
	for _, test := range []struct {
		k    int
		want int64
	}{{1, 3}, {2, 6}, {58, 3 << 57}, {59, 1 << 59}, {64, 1 << 59}, {1000, 1 << 59}} {
		if got := policy.WindowNs(test.k); got != test.want {
			t.Errorf("after attempt %d: got %d, want %d", test.k, got, test.want)
		}
	}
}

func TestPayloadKey(t *testing.T) {
	for _, test := range []struct {
		payload string
		key     string
		valid   bool
	}{
		{"", "", true},
		{"\x0a\x01k", "k", true},
		{"\x0a\x01k\x0a\x01j", "j", true},
		{"\xfa\x01\x04next\x0a\x01k", "k", true},
		{"\x08\x05", "", true},
		{"\x0a\x05k", "", false},
		{"\x0a\x01\xff", "", false},
		{"\x80", "", false},
	} {
		key, err := PayloadKey([]byte(test.payload))
		if key != test.key || (err == nil) != test.valid {
			t.Errorf("%q: got %q, %v", test.payload, key, err)
		}
	}
}
