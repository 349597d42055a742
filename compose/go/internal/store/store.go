// Package store keeps the changelog on disk.
package store

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"driftlab/replica/internal/core"
	"driftlab/replica/wire"
)

var (
	entriesBucket  = []byte("entries")
	metaBucket     = []byte("meta")
	incarnationKey = []byte("incarnation")
)

// Updates come by ascending sequence, so pages can be filled and need no room for inserts.
const fillPercent = 0.95

// mapBytes is address space, not memory.
const mapBytes = 1 << 30

// Store is an open changelog.
type Store struct{ database *bbolt.DB }

// Open opens or makes the changelog in a folder.
func Open(folder string) (*Store, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	// The list of free pages is found again at each start: writing it would cost every commit.
	database, err := bbolt.Open(filepath.Join(folder, "changelog.db"), 0o600, &bbolt.Options{
		Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		// While somebody reads, the file cannot be mapped anew: room for it to grow meanwhile.
		InitialMmapSize: mapBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the changelog in %s: %w", folder, err)
	}
	err = database.Update(func(transaction *bbolt.Tx) error {
		if _, err := transaction.CreateBucketIfNotExists(entriesBucket); err != nil {
			return err
		}
		_, err := transaction.CreateBucketIfNotExists(metaBucket)
		return err
	})
	if err != nil {
		database.Close()
		return nil, err
	}
	return &Store{database: database}, nil
}

// Close releases the file. It waits for a commit in progress.
func (s *Store) Close() error { return s.database.Close() }

// NextIncarnation stores and returns a number above all earlier ones: the proposed one, unless
// the clock that proposed it went backwards.
func (s *Store) NextIncarnation(proposed uint64) (uint64, error) {
	err := s.database.Update(func(transaction *bbolt.Tx) error {
		bucket := transaction.Bucket(metaBucket)
		if stored := bucket.Get(incarnationKey); len(stored) == 8 {
			proposed = max(proposed, binary.BigEndian.Uint64(stored)+1)
		}
		return bucket.Put(incarnationKey, binary.BigEndian.AppendUint64(nil, proposed))
	})
	return proposed, err
}

// Append stores entries in one transaction. When it returns without an error they survive the
// loss of the process and of power.
func (s *Store) Append(entries []*core.Entry) error {
	return s.database.Update(func(transaction *bbolt.Tx) error {
		bucket := transaction.Bucket(entriesBucket)
		bucket.FillPercent = fillPercent
		for _, entry := range entries {
			value, err := proto.Marshal(entry.Envelope(wire.Kind_KIND_UPDATE, "", 0))
			if err != nil {
				return err
			}
			key := binary.BigEndian.AppendUint64(nil, entry.Sequence)
			if err := bucket.Put(key, value); err != nil {
				return err
			}
		}
		return nil
	})
}

// Load hands over all entries by ascending sequence.
func (s *Store) Load(take func(core.Entry) error) error {
	return s.database.View(func(transaction *bbolt.Tx) error {
		return transaction.Bucket(entriesBucket).ForEach(func(key, value []byte) error {
			entry, err := decode(key, value)
			if err != nil {
				return err
			}
			return take(entry)
		})
	})
}

func decode(key, value []byte) (core.Entry, error) {
	envelope := &wire.Envelope{}
	if err := proto.Unmarshal(value, envelope); err != nil {
		return core.Entry{}, fmt.Errorf("entry %x: %w", key, err)
	}
	entry, err := core.EntryFromEnvelope(envelope)
	if err != nil {
		return core.Entry{}, fmt.Errorf("entry %x: %w", key, err)
	}
	return entry, nil
}

// Reader sees the changelog as it was at one moment.
type Reader struct{ bucket *bbolt.Bucket }

// Read lets a function read; what is stored meanwhile does not wait for it.
func (s *Store) Read(use func(Reader) error) error {
	return s.database.View(func(transaction *bbolt.Tx) error {
		return use(Reader{transaction.Bucket(entriesBucket)})
	})
}

// Each hands over the entries up to a sequence, ascending.
func (r Reader) Each(last uint64, take func(core.Entry) error) error {
	cursor := r.bucket.Cursor()
	for key, value := cursor.First(); key != nil; key, value = cursor.Next() {
		if len(key) == 8 && binary.BigEndian.Uint64(key) > last {
			return nil
		}
		entry, err := decode(key, value)
		if err != nil {
			return err
		}
		if err := take(entry); err != nil {
			return err
		}
	}
	return nil
}

// Entry looks up one entry.
func (r Reader) Entry(sequence uint64) (core.Entry, bool, error) {
	key := binary.BigEndian.AppendUint64(nil, sequence)
	value := r.bucket.Get(key)
	if value == nil {
		return core.Entry{}, false, nil
	}
	entry, err := decode(key, value)
	return entry, err == nil, err
}
