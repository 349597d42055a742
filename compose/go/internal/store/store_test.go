package store

import (
	"errors"
	"testing"

	"driftlab/replica/internal/core"
)

func load(t *testing.T, opened *Store) []core.Entry {
	t.Helper()
	var entries []core.Entry
	err := opened.Load(func(entry core.Entry) error {
		entries = append(entries, entry)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	folder := t.TempDir()
	opened, err := Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	stored := core.Entry{
		Sequence: 300, TimestampNs: 5, Origin: "leader", Token: "t", CorrelationID: "c",
		Payload: []byte("\xfa\x01\x04next\x0a\x01k"), Key: "k",
	}
	first := core.Entry{Sequence: 2}
	if err := opened.Append([]*core.Entry{&stored}); err != nil {
		t.Fatal(err)
	}
	if err := opened.Append([]*core.Entry{&first}); err != nil {
		t.Fatal(err)
	}
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
	if opened, err = Open(folder); err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	entries := load(t, opened)
	if len(entries) != 2 || entries[0].Sequence != 2 {
		t.Fatalf("loaded %v", entries)
	}
	loaded := entries[1]
	if string(loaded.Payload) != string(stored.Payload) || loaded.Token != "t" ||
		loaded.Key != "k" || loaded.TimestampNs != 5 || loaded.CorrelationID != "c" {
		t.Errorf("loaded %+v", loaded)
	}
	refused := errors.New("refused")
	if err := opened.Load(func(core.Entry) error { return refused }); err != refused {
		t.Errorf("got %v", err)
	}
}

func TestIncarnationsGrow(t *testing.T) {
	opened, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	for _, test := range []struct{ proposed, want uint64 }{{10, 10}, {20, 20}, {5, 21}, {21, 22}} {
		if got, err := opened.NextIncarnation(test.proposed); err != nil || got != test.want {
			t.Errorf("proposed %d: got %d, %v", test.proposed, got, err)
		}
	}
}

func TestAStoreHasOneOwner(t *testing.T) {
	folder := t.TempDir()
	opened, err := Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(folder); err == nil {
		t.Error("two owners")
	}
	opened.Close()
	again, err := Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestReaderSeesOneMoment(t *testing.T) {
	opened, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	entryOf := func(sequence uint64) *core.Entry {
		return &core.Entry{Sequence: sequence, Token: "t", Payload: []byte("\x0a\x01k")}
	}
	if err := opened.Append([]*core.Entry{entryOf(1), entryOf(2), entryOf(4)}); err != nil {
		t.Fatal(err)
	}
	err = opened.Read(func(reader Reader) error {
		// What is stored meanwhile neither waits for the reader nor is seen by it.
		if err := opened.Append([]*core.Entry{entryOf(3)}); err != nil {
			return err
		}
		seen := uint64(0)
		if err := reader.Each(3, func(entry core.Entry) error {
			seen = seen*10 + entry.Sequence
			return nil
		}); err != nil {
			return err
		}
		_, early, _ := reader.Entry(3)
		entry, found, err := reader.Entry(4)
		if seen != 12 || early || !found || entry.Key != "k" {
			t.Errorf("seen %d, %v, %+v", seen, early, entry)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
