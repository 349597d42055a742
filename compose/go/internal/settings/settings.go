// Package settings reads the one file that a replica is told to run by.
package settings

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"

	"driftlab/replica/internal/core"
)

// Schema is the version of the file that this replica understands.
const Schema = 1

// Policy is the retry policy of the leader.
type Policy struct {
	TimeoutNs int64  `json:"timeout_ns"`
	Attempts  int    `json:"attempts"`
	Backoff   string `json:"backoff"`
	BaseNs    int64  `json:"base_ns"`
	CapNs     int64  `json:"cap_ns"`
	Jitter    string `json:"jitter"`
	BudgetPpm int64  `json:"budget_ppm"`
	// Zero failures is no breaker.
	BreakerFailures int   `json:"breaker_failures"`
	BreakerOpenNs   int64 `json:"breaker_open_ns"`
}

// Queue bounds the attempts outstanding to a follower and the entries behind a gap.
type Queue struct {
	Limit    int    `json:"limit"`
	Overflow string `json:"overflow"`
}

// Channel limits what waits for one peer and how fast it leaves; 0 is no limit.
type Channel struct {
	MemoryBytes        int64 `json:"memory_bytes"`
	BandwidthBytesPerS int64 `json:"bandwidth_bytes_per_s"`
}

// Listen holds the addresses of the three listeners.
type Listen struct {
	Peer    string `json:"peer"`
	Client  string `json:"client"`
	Control string `json:"control"`
}

// Settings is the file.
type Settings struct {
	Schema           int               `json:"schema"`
	RunID            string            `json:"run_id"`
	Name             string            `json:"name"`
	Index            int               `json:"index"`
	Leader           string            `json:"leader"`
	Replicas         []string          `json:"replicas"`
	Peers            map[string]string `json:"peers"`
	Seed             uint64            `json:"seed"`
	Mode             string            `json:"mode"`
	Bound            uint64            `json:"bound"`
	Ordering         string            `json:"ordering"`
	Policy           Policy            `json:"policy"`
	Queue            Queue             `json:"queue"`
	ReconcileEveryNs int64             `json:"reconcile_every_ns"`
	ReconcileBatch   int               `json:"reconcile_batch"`
	DataDir          string            `json:"data_dir"`
	Events           bool              `json:"events"`
	LogLevel         string            `json:"log_level"`
	Wire             string            `json:"wire"`
	Pool             int               `json:"pool"`
	Channel          Channel           `json:"channel"`
	ProgressEveryNs  int64             `json:"progress_every_ns"`
	SchemaVersion    uint32            `json:"schema_version"`
	Traces           string            `json:"traces"`
	Listen           Listen            `json:"listen"`
}

// optionalKeys may be left out; everything else has to be said.
var optionalKeys = []string{
	"log_level", "policy.breaker_failures", "policy.breaker_open_ns", "wire", "pool", "channel",
	"channel.memory_bytes", "channel.bandwidth_bytes_per_s", "progress_every_ns",
	"schema_version", "traces",
}

// breakerOpenNs is how long a breaker stays open where the file does not say.
const breakerOpenNs = 1_000_000_000

// PoolMax bounds the connections dialled ahead to one peer.
const PoolMax = 64

// poolSize is that number where the file does not say.
const poolSize = 8

// Load reads and checks a file.
func Load(path string) (*Settings, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(text)
}

// Parse reads and checks settings.
func Parse(text []byte) (*Settings, error) {
	parsed := Defaults()
	if err := Decode(text, parsed, optionalKeys); err != nil {
		return nil, err
	}
	if err := parsed.check(); err != nil {
		return nil, err
	}
	return parsed, nil
}

// Defaults is what counts where the file does not say.
func Defaults() *Settings {
	return &Settings{
		LogLevel: "warn", Policy: Policy{BreakerOpenNs: breakerOpenNs},
		Wire: "framed", Pool: poolSize, SchemaVersion: 1,
	}
}

// Decode reads a file of JSON into a struct that has a place for every key of it. Keys that are
// not optional have to be there.
func Decode[T any](text []byte, into *T, optional []string) error {
	if err := checkKeys(text, reflect.TypeFor[T](), "", optional); err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// checkKeys refuses unknown and missing keys. The standard decoder would also accept keys that
// differ in case, and files that leave keys out.
func checkKeys(text []byte, shape reflect.Type, path string, optional []string) error {
	var present map[string]json.RawMessage
	if err := json.Unmarshal(text, &present); err != nil {
		return err
	}
	known := make(map[string]reflect.Type)
	for index := range shape.NumField() {
		field := shape.Field(index)
		known[field.Tag.Get("json")] = field.Type
	}
	for _, key := range sortedKeys(present) {
		kind, found := known[key]
		if !found {
			return fmt.Errorf("unknown key %q", path+key)
		}
		if kind.Kind() == reflect.Struct {
			if err := checkKeys(present[key], kind, path+key+".", optional); err != nil {
				return err
			}
		}
	}
	for _, key := range sortedKeys(known) {
		if _, found := present[key]; !found && !slices.Contains(optional, path+key) {
			return fmt.Errorf("missing key %q", path+key)
		}
	}
	return nil
}

func sortedKeys[V any](from map[string]V) []string {
	keys := make([]string, 0, len(from))
	for key := range from {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// rule is one thing that must hold for the value of a key.
type rule struct {
	key   string
	holds bool
	want  string
}

func oneOf(key, value string, choices ...string) rule {
	return rule{key, slices.Contains(choices, value), "one of " + strings.Join(choices, ", ")}
}

func (s *Settings) check() error {
	placed := s.Index >= 0 && s.Index < len(s.Replicas) && s.Replicas[s.Index] == s.Name
	rules := []rule{
		{"schema", s.Schema == Schema, fmt.Sprint(Schema)},
		{"index", placed, "the place of name among replicas"},
		{"leader", slices.Contains(s.Replicas, s.Leader), "one of replicas"},
		{"seed", s.Seed < 1<<63, "below 2^63"},
		{"mode", core.ValidMode(s.Mode), "one of async, quorum, sync, bounded"},
		oneOf("ordering", s.Ordering, "sequence", "key"),
		{"policy.timeout_ns", s.Policy.TimeoutNs > 0, "above 0"},
		{"policy.attempts", s.Policy.Attempts > 0, "above 0"},
		oneOf("policy.backoff", s.Policy.Backoff, "fixed", "exponential"),
		{"policy.base_ns", s.Policy.BaseNs >= 0 && s.Policy.BaseNs < 1<<60, "0 to 2^60"},
		{"policy.cap_ns", s.Policy.CapNs >= 0 && s.Policy.CapNs < 1<<60, "0 to 2^60"},
		oneOf("policy.jitter", s.Policy.Jitter, "none", "full", "equal", "decorrelated"),
		{"policy.breaker_failures", s.Policy.BreakerFailures >= 0, "not negative"},
		{"policy.breaker_open_ns", s.Policy.BreakerOpenNs > 0, "above 0"},
		{"queue.limit", s.Queue.Limit > 0, "above 0"},
		oneOf("queue.overflow", s.Queue.Overflow, "reject", "defer"),
		{"reconcile_every_ns", s.ReconcileEveryNs >= 0, "not negative"},
		{"reconcile_batch", s.ReconcileBatch >= 0, "not negative"},
		{"data_dir", s.DataDir != "", "a folder"},
		oneOf("log_level", s.LogLevel, "debug", "info", "warn", "error"),
		oneOf("wire", s.Wire, "framed", "oneshot"),
		{"pool", s.Pool >= 1 && s.Pool <= PoolMax, fmt.Sprint("1 to ", PoolMax)},
		{"channel.memory_bytes", s.Channel.MemoryBytes >= 0, "not negative"},
		{"channel.bandwidth_bytes_per_s", s.Channel.BandwidthBytesPerS >= 0, "not negative"},
		{"progress_every_ns", s.ProgressEveryNs >= 0, "not negative"},
		{"schema_version", s.SchemaVersion == 1 || s.SchemaVersion == 2, "1 or 2"},
		{"traces", s.Traces == "" || isAddress(s.Traces), "empty or http://HOST:PORT"},
	}
	for _, each := range rules {
		if !each.holds {
			return fmt.Errorf("key %q must be %s", each.key, each.want)
		}
	}
	if err := s.checkReplicas(); err != nil {
		return err
	}
	return s.checkPeers()
}

// isAddress says whether this is http://HOST:PORT and nothing more.
func isAddress(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && parsed.Scheme == "http" && parsed.Hostname() != "" &&
		parsed.Port() != "" && text == "http://"+parsed.Host
}

func (s *Settings) checkReplicas() error {
	seen := make(map[string]bool)
	for _, name := range s.Replicas {
		if name == "" || seen[name] {
			return fmt.Errorf("key %q must hold distinct names", "replicas")
		}
		seen[name] = true
	}
	return nil
}

// checkPeers wants exactly the replicas that this one sends to.
func (s *Settings) checkPeers() error {
	needed := []string{s.Leader}
	if s.Name == s.Leader {
		needed = slices.DeleteFunc(slices.Clone(s.Replicas), func(name string) bool {
			return name == s.Name
		})
	}
	for _, name := range needed {
		if s.Peers[name] == "" {
			return fmt.Errorf("key %q must hold the address of %q", "peers", name)
		}
	}
	for name := range s.Peers {
		if !slices.Contains(needed, name) {
			return fmt.Errorf("key %q names %q, to whom nothing is sent", "peers", name)
		}
	}
	return nil
}

// Core is the part of the settings that decisions depend on.
func (s *Settings) Core(incarnation uint64) core.Config {
	return core.Config{
		Name: s.Name, Index: s.Index, Leader: s.Leader, Replicas: s.Replicas,
		Seed: s.Seed, Incarnation: incarnation, Mode: s.Mode, Bound: s.Bound,
		Ordering: s.Ordering,
		Policy: core.Policy{
			TimeoutNs: s.Policy.TimeoutNs, Attempts: s.Policy.Attempts,
			Backoff: s.Policy.Backoff, BaseNs: s.Policy.BaseNs, CapNs: s.Policy.CapNs,
			Jitter: s.Policy.Jitter, BudgetPpm: s.Policy.BudgetPpm,
			BreakerFailures: s.Policy.BreakerFailures, BreakerOpenNs: s.Policy.BreakerOpenNs,
		},
		QueueLimit: s.Queue.Limit, Overflow: s.Queue.Overflow,
		DigestNs: s.ReconcileEveryNs, RepairBatch: s.ReconcileBatch,
		ProgressNs: s.ProgressEveryNs,
	}
}
