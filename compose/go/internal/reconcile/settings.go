// Package reconcile compares followers with their leader by Merkle trees over the control
// interface alone, puts right what drifted, and keeps snapshots of the leader.
package reconcile

import (
	"fmt"
	"net/url"
	"slices"

	"driftlab/replica/internal/settings"
)

// Settings is the file.
type Settings struct {
	Schema          int               `json:"schema"`
	RunID           string            `json:"run_id"`
	Leader          string            `json:"leader"`
	Followers       map[string]string `json:"followers"`
	EveryNs         int64             `json:"every_ns"`
	SnapshotEveryNs int64             `json:"snapshot_every_ns"`
	RepairsPerS     int64             `json:"repairs_per_s"`
	NodesPerS       int64             `json:"nodes_per_s"`
	DataDir         string            `json:"data_dir"`
	Listen          string            `json:"listen"`
	LogLevel        string            `json:"log_level"`
}

// ParseSettings reads and checks settings.
func ParseSettings(text []byte) (*Settings, error) {
	parsed := &Settings{Listen: ":8080", LogLevel: "warn"}
	if err := settings.Decode(text, parsed, []string{"listen", "log_level"}); err != nil {
		return nil, err
	}
	levels := []string{"debug", "info", "warn", "error"}
	for _, rule := range []struct {
		key   string
		holds bool
		want  string
	}{
		{"schema", parsed.Schema == 1, "1"},
		{"leader", isAddress(parsed.Leader), "http://HOST:PORT"},
		{"every_ns", parsed.EveryNs > 0, "above 0"},
		{"snapshot_every_ns", parsed.SnapshotEveryNs >= 0, "not negative"},
		{"repairs_per_s", parsed.RepairsPerS >= 0, "not negative"},
		{"nodes_per_s", parsed.NodesPerS > 0, "above 0"},
		{"data_dir", parsed.DataDir != "", "a folder"},
		{"log_level", slices.Contains(levels, parsed.LogLevel), "one of debug, info, warn, error"},
	} {
		if !rule.holds {
			return nil, fmt.Errorf("key %q must be %s", rule.key, rule.want)
		}
	}
	for name, address := range parsed.Followers {
		if name == "" || !isAddress(address) {
			return nil, fmt.Errorf("key %q must hold http://HOST:PORT for %q", "followers", name)
		}
	}
	return parsed, nil
}

func isAddress(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && parsed.Scheme == "http" && parsed.Host != "" && text == "http://"+parsed.Host
}
