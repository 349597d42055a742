package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"driftlab/replica/internal/core"
	"driftlab/replica/internal/frame"
	"driftlab/replica/internal/store"
	"driftlab/replica/wire"
)

const runAsReplica = "RUN_AS_REPLICA"

// TestMain lets the test binary stand for the replica, so that a test can kill a process.
func TestMain(m *testing.M) {
	if os.Getenv(runAsReplica) != "" {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestGoldenStream(t *testing.T) {
	folder := filepath.Join("..", "golden")
	text, err := os.ReadFile(filepath.Join(folder, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var expected map[string]applied
	if err := json.Unmarshal(text, &expected); err != nil {
		t.Fatal(err)
	}
	stream, err := os.ReadFile(filepath.Join(folder, "stream.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, ordering := range []string{"sequence", "key"} {
		var output, errput bytes.Buffer
		arguments := []string{"apply", "--ordering", ordering}
		if code := run(arguments, bytes.NewReader(stream), &output, &errput); code != 0 {
			t.Fatalf("exit %d: %s", code, &errput)
		}
		var got applied
		if err := json.Unmarshal(output.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if want, found := expected[ordering]; !found || got != want {
			t.Errorf("%s: got %+v, want %+v", ordering, got, want)
		}
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	folder := t.TempDir()
	bad := filepath.Join(folder, "settings.json")
	if err := os.WriteFile(bad, []byte(`{"schema": 1, "colour": 2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		arguments, input, says string
		code                   int
	}{
		{"--settings " + bad, "", `"colour"`, exitUsage},
		{"health --settings " + bad, "", `"colour"`, exitUsage},
		{"--settings " + folder + "/none", "", "none", exitUsage},
		{"dance", "", "dance", exitUsage},
		{"apply --ordering random", "", "random", exitUsage},
		{"apply", "nonsense", "line 1", exitFailure},
		{"apply", `{"sequence":"1","token":"t","payload":"0a05"}`, "line 1", exitFailure},
		{"apply", "", "", 0},
	} {
		var output, errput bytes.Buffer
		arguments := strings.Fields(test.arguments)
		code := run(arguments, strings.NewReader(test.input), &output, &errput)
		if code != test.code || !strings.Contains(errput.String(), test.says) ||
			strings.Count(errput.String(), "\n") > 1 {
			t.Errorf("%s: exit %d: %s", test.arguments, code, &errput)
		}
	}
}

// process is a replica of its own.
type process struct {
	*exec.Cmd
	events *bufio.Scanner
}

func start(t *testing.T, path string) *process {
	t.Helper()
	command := exec.Command(os.Args[0], "--settings", path)
	command.Env = append(os.Environ(), runAsReplica+"=1")
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	return &process{Cmd: command, events: bufio.NewScanner(output)}
}

// soloSettings is a replica without followers, so that a majority is itself.
func soloSettings(t *testing.T) (path, client, control, data string) {
	t.Helper()
	folder := t.TempDir()
	var addresses [3]string
	for index := range addresses {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		addresses[index] = listener.Addr().String()
	}
	path, data = filepath.Join(folder, "settings.json"), filepath.Join(folder, "data")
	text := fmt.Sprintf(`{"schema": 1, "run_id": "r", "name": "leader", "index": 0,
		"leader": "leader", "replicas": ["leader"], "peers": {}, "seed": 1, "mode": "quorum",
		"bound": 1, "ordering": "sequence", "policy": {"timeout_ns": 1000000, "attempts": 1,
		"backoff": "fixed", "base_ns": 1, "cap_ns": 1, "jitter": "none", "budget_ppm": -1},
		"queue": {"limit": 10, "overflow": "reject"}, "reconcile_every_ns": 0,
		"reconcile_batch": 1, "data_dir": %q, "events": true,
		"listen": {"peer": %q, "client": %q, "control": %q}}`,
		data, addresses[0], addresses[1], addresses[2])
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, addresses[1], addresses[2], data
}

// healthy waits until the health check of a running replica succeeds.
func healthy(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		var output, errput bytes.Buffer
		if run([]string{"health", "--settings", path}, nil, &output, &errput) == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the replica does not come up")
}

func writeOnce(t *testing.T, address, token string) *wire.Envelope {
	t.Helper()
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	encoded, err := frame.Append(nil, &wire.Envelope{
		SchemaVersion: 1, Kind: wire.Kind_KIND_WRITE, IdempotencyToken: token,
		Payload: []byte("\x0a\x01k"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connection.Write(encoded); err != nil {
		t.Fatal(err)
	}
	answer, err := frame.Read(connection)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestKilledReplicaKeepsWhatItAcknowledged(t *testing.T) {
	path, client, _, data := soloSettings(t)
	var output, errput bytes.Buffer
	if run([]string{"health", "--settings", path}, nil, &output, &errput) == 0 {
		t.Fatal("healthy before it runs")
	}
	killed := start(t, path)
	healthy(t, path)
	for number := range 3 {
		if answer := writeOnce(t, client, fmt.Sprint("t", number)); answer.GetSequence() == 0 {
			t.Fatalf("answer %v", answer)
		}
	}
	killed.Process.Signal(syscall.SIGKILL)
	names := ""
	for killed.events.Scan() {
		var event struct{ E string }
		if err := json.Unmarshal(killed.events.Bytes(), &event); err != nil {
			t.Fatal(err)
		}
		names += event.E[:1]
	}
	// Every event that led to an answer is out: start, then accepted, applied, released.
	if names != "saaraaraar" {
		t.Errorf("events %s", names)
	}
	killed.Wait()
	opened, err := store.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	opened.Load(func(entry core.Entry) error {
		last = entry.Token
		return nil
	})
	opened.Close()
	if last != "t2" {
		t.Errorf("the last entry on disk is %q", last)
	}
	start(t, path)
	healthy(t, path)
	if answer := writeOnce(t, client, "t2"); answer.GetSequence() != 3 {
		t.Errorf("a known token: %v", answer)
	}
	if answer := writeOnce(t, client, "t3"); answer.GetSequence() != 4 {
		t.Errorf("a new token: %v", answer)
	}
}

func TestTerminatedReplicaExitsInTime(t *testing.T) {
	path, client, _, _ := soloSettings(t)
	running := start(t, path)
	healthy(t, path)
	idle, err := net.Dial("tcp", client)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	writeOnce(t, client, "a")
	asked := time.Now()
	running.Process.Signal(syscall.SIGTERM)
	count := 0
	for running.events.Scan() {
		count++
	}
	if err := running.Wait(); err != nil {
		t.Error(err)
	}
	if took := time.Since(asked); took > 2*time.Second || count != 4 {
		t.Errorf("%d events, stopped after %s", count, took)
	}
}
