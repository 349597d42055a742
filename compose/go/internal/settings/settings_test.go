package settings

import (
	"strings"
	"testing"
)

const example = `{"schema": 1, "run_id": "r1", "name": "leader", "index": 0, "leader": "leader",
 "replicas": ["leader", "f1", "f2"], "peers": {"f1": "127.0.0.1:1", "f2": "127.0.0.1:2"},
 "seed": 9223372036854775807, "mode": "quorum", "bound": 16, "ordering": "sequence",
 "policy": {"timeout_ns": 250000000, "attempts": 8, "backoff": "exponential",
            "base_ns": 50000000, "cap_ns": 2000000000, "jitter": "full", "budget_ppm": -1},
 "queue": {"limit": 256, "overflow": "reject"},
 "reconcile_every_ns": 1000000000, "reconcile_batch": 64,
 "data_dir": "/data", "events": true, "log_level": "info",
 "listen": {"peer": ":7000", "client": ":7001", "control": ":8080"}}`

func TestExample(t *testing.T) {
	parsed, err := Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	config := parsed.Core(5)
	if config.Seed != 1<<63-1 || config.Policy.CapNs != 2_000_000_000 ||
		config.QueueLimit != 256 || config.LeaderIndex() != 0 || config.Incarnation != 5 {
		t.Errorf("%+v", config)
	}
	parsed, err = Parse([]byte(strings.Replace(example, ` "log_level": "info",`, "", 1)))
	if err != nil || parsed.LogLevel != "warn" {
		t.Errorf("the log level is optional: %v", err)
	}
	if policy := parsed.Core(5).Policy; policy.BreakerFailures != 0 ||
		policy.BreakerOpenNs != breakerOpenNs {
		t.Errorf("the breaker is optional: %+v", policy)
	}
}

func TestRefusedSettingsNameTheKey(t *testing.T) {
	for _, test := range []struct{ old, new, key string }{
		{`"schema": 1`, `"schema": 1, "sceme": 1`, `"sceme"`},
		{`"seed"`, `"Seed"`, `"Seed"`},
		{`"attempts"`, `"attempt"`, `"policy.attempt"`},
		{`"seed": 9223372036854775807, `, ``, `"seed"`},
		{`9223372036854775807`, `9223372036854775808`, `"seed"`},
		{`"schema": 1`, `"schema": 2`, `"schema"`},
		{`"index": 0`, `"index": 1`, `"index"`},
		{`"quorum"`, `"majority"`, `"mode"`},
		{`"f2": "127.0.0.1:2"`, `"f3": "127.0.0.1:2"`, `"f2"`},
		{`"f2": "127.0.0.1:2"`, `"f2": "127.0.0.1:2", "f3": "127.0.0.1:2"`, `"f3"`},
		{`"f1", "f2"]`, `"f1", "f2", "f1"]`, `"replicas"`},
		{`"limit": 256`, `"limit": 0`, `"queue.limit"`},
		{`-1}`, `-1, "breaker_failures": -1}`, `"policy.breaker_failures"`},
		{`-1}`, `-1, "breaker_open_ns": 0}`, `"policy.breaker_open_ns"`},
	} {
		changed := strings.Replace(example, test.old, test.new, 1)
		if changed == example {
			t.Fatalf("%s is not in the example", test.old)
		}
		_, err := Parse([]byte(changed))
		if err == nil || !strings.Contains(err.Error(), test.key) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", test.new, err)
		}
	}
}

func TestNewKeysAreOptionalAndChecked(t *testing.T) {
	parsed, err := Parse([]byte(example))
	if err != nil || parsed.Wire != "framed" || parsed.Pool != 8 || parsed.SchemaVersion != 1 ||
		parsed.Channel != (Channel{}) || parsed.ProgressEveryNs != 0 || parsed.Traces != "" {
		t.Errorf("%+v: %v", parsed, err)
	}
	for _, test := range []struct {
		text, key string
	}{
		{`"wire": "oneshot"`, ``}, {`"wire": "udp"`, `"wire"`},
		{`"pool": 64`, ``}, {`"pool": 0`, `"pool"`}, {`"pool": 65`, `"pool"`},
		{`"channel": {"memory_bytes": 1}`, ``},
		{`"channel": {"memory_bytes": -1}`, `"channel.memory_bytes"`},
		{`"channel": {"bandwidth_bytes_per_s": -1}`, `"channel.bandwidth_bytes_per_s"`},
		{`"channel": {"bytes": 1}`, `"channel.bytes"`},
		{`"progress_every_ns": -1`, `"progress_every_ns"`},
		{`"schema_version": 2`, ``}, {`"schema_version": 3`, `"schema_version"`},
		{`"traces": "http://127.0.0.1:4318"`, ``}, {`"traces": "127.0.0.1:4318"`, `"traces"`},
		{`"traces": "http://127.0.0.1:4318/v1"`, `"traces"`}, {`"traces": "http://host"`, `"traces"`},
	} {
		_, err := Parse([]byte(strings.Replace(example, `"schema": 1`, `"schema": 1, `+test.text, 1)))
		if test.key == "" && err != nil || test.key != "" &&
			(err == nil || !strings.Contains(err.Error(), test.key)) {
			t.Errorf("%s: %v", test.text, err)
		}
	}
}

// FuzzParse feeds any text: what is taken holds what the rest of the replica relies on.
func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte(`{"schema": 1, "channel": {"memory_bytes": 1}, "traces": "http://h:1"}`))
	f.Add([]byte(`{"queue": {"limit": 1e3}}`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, err := Parse(text)
		if err != nil {
			return
		}
		config := parsed.Core(1)
		if parsed.Pool < 1 || parsed.Pool > PoolMax || parsed.Queue.Limit < 1 ||
			config.LeaderIndex() < 0 || parsed.Replicas[parsed.Index] != parsed.Name {
			t.Fatalf("%+v", parsed)
		}
	})
}
