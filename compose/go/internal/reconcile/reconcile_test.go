package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"driftlab/replica/internal/core"
)

// newTest makes a reconciler of one follower whose lines are collected.
func newTest(t *testing.T, leader, follower *fake, change func(*Settings)) (*Reconciler, *strings.Builder) {
	t.Helper()
	settings := &Settings{
		Schema: 1, RunID: "test", Leader: leader.URL, Followers: map[string]string{"f1": follower.URL},
		EveryNs: 1e9, RepairsPerS: 1000, NodesPerS: 1e6, DataDir: t.TempDir(),
	}
	if change != nil {
		change(settings)
	}
	output := &strings.Builder{}
	made, err := New(settings, output, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return made, output
}

// oneRound returns the line of a round.
func oneRound(t *testing.T, r *Reconciler, output *strings.Builder) Round {
	t.Helper()
	output.Reset()
	r.round(context.Background())
	var line Round
	if err := json.Unmarshal([]byte(output.String()), &line); err != nil {
		t.Fatalf("%s: %v", output, err)
	}
	return line
}

func whys(line Round) string {
	found := []string{}
	for _, drift := range line.Drift {
		found = append(found, drift.Why)
	}
	slices.Sort(found)
	return strings.Join(found, " ")
}

func TestJudge(t *testing.T) {
	at := func(sequence uint64, hash string) *row { return &row{sequence, hash} }
	for _, test := range []struct {
		leader, follower *row
		prefix           uint64
		want             string
	}{
		{nil, nil, 9, same}, {at(3, "a"), at(3, "a"), 9, same}, {at(3, "a"), at(3, "b"), 9, "different"},
		{at(3, "a"), nil, 3, "missing"}, {at(3, "a"), nil, 2, lag},
		{at(3, "a"), at(2, "a"), 3, "older"}, {at(3, "a"), at(2, "a"), 2, lag},
		{at(3, "a"), at(4, "a"), 9, "newer"}, {nil, at(4, "a"), 9, "extra"},
	} {
		if got := judge(test.leader, test.follower, test.prefix); got != test.want {
			t.Errorf("%v %v: %q, want %q", test.leader, test.follower, got, test.want)
		}
	}
}

func TestEqualReplicasCostOneNode(t *testing.T) {
	leader, follower := newFake(t, ""), newFake(t, "")
	for _, each := range []*fake{leader, follower} {
		each.take(entryOf(1, "a"), entryOf(2, "b"))
	}
	r, output := newTest(t, leader, follower, nil)
	if line := oneRound(t, r, output); line.Nodes != 1 || line.Rows != 0 || len(line.Drift) != 0 ||
		line.Unreachable != "" || line.Event != "round" || line.Replica != "f1" {
		t.Errorf("%+v", line)
	}
}

func TestLagIsLeftAlone(t *testing.T) {
	leader, follower := newFake(t, ""), newFake(t, "")
	leader.take(entryOf(1, "a"), entryOf(2, "b"), entryOf(3, "a"))
	follower.take(entryOf(1, "a"))
	r, output := newTest(t, leader, follower, nil)
	if line := oneRound(t, r, output); line.Lag != 2 || len(line.Drift) != 0 || line.Corrected != 0 {
		t.Errorf("%+v", line)
	}
	if slices.Contains(follower.requests, "POST /repair") {
		t.Error("the follower was meddled with")
	}
}

func TestDriftIsPutRight(t *testing.T) {
	leader, follower := newFake(t, ""), newFake(t, core.BugAnyOrder)
	leader.take(entryOf(1, "a"), entryOf(2, "a"), entryOf(3, "b"))
	follower.take(entryOf(2, "a"), entryOf(1, "a"), entryOf(3, "b"))
	r, output := newTest(t, leader, follower, nil)
	line := oneRound(t, r, output)
	if whys(line) != "older" || line.Corrected != 1 || line.Left != 0 ||
		line.Drift[0].LeaderSequence != "2" || line.Drift[0].ReplicaSequence != "1" || line.Drift[0].Key != "61" {
		t.Errorf("%+v", line)
	}
	if leader.digest() != follower.digest() {
		t.Error("the digests differ")
	}
	if line := oneRound(t, r, output); line.Nodes != 1 || len(line.Drift) != 0 {
		t.Errorf("afterwards: %+v", line)
	}
}

func TestWhatTheLeaderDoesNotHaveIsReportedAndLeft(t *testing.T) {
	leader, follower := newFake(t, ""), newFake(t, "")
	leader.take(entryOf(1, "a"), entryOf(2, "b"))
	follower.take(entryOf(1, "a"), entryOf(2, "b"), entryOf(3, "b"), entryOf(4, "c"))
	before := follower.digest()
	r, output := newTest(t, leader, follower, nil)
	for range 2 {
		if line := oneRound(t, r, output); whys(line) != "extra newer" || line.Corrected != 0 {
			t.Errorf("%+v", line)
		}
	}
	if follower.digest() != before || r.totals.copy().Drift["extra"] != 2 {
		t.Errorf("%+v", r.totals.copy())
	}
}

func TestAChangedPayloadIsPutRight(t *testing.T) {
	leader, follower := newFake(t, ""), newFake(t, "")
	leader.take(entryOf(1, "a"))
	wrong := entryOf(1, "a")
	wrong.Payload = append(wrong.Payload, "\xfa\x01\x01x"...)
	follower.take(wrong)
	r, output := newTest(t, leader, follower, nil)
	if line := oneRound(t, r, output); whys(line) != "different" || line.Corrected != 1 {
		t.Errorf("%+v", line)
	}
	if leader.digest() != follower.digest() {
		t.Error("the digests differ")
	}
}

func TestARowThatComesRightMeanwhileIsNoDrift(t *testing.T) {
	leader, follower := newFake(t, ""), newFake(t, "")
	leader.take(entryOf(1, "a"))
	follower.take(entryOf(1, "a"), entryOf(2, "a"))
	// The follower was read after the leader got another update: the leader is read again.
	buckets := 0
	leader.asked = func(string) {
		if buckets++; buckets == 6 {
			leader.take(entryOf(2, "a"))
		}
	}
	r, output := newTest(t, leader, follower, nil)
	if line := oneRound(t, r, output); len(line.Drift) != 0 {
		t.Errorf("%+v", line)
	}
	if buckets < 7 {
		t.Errorf("the leader was asked %d times", buckets)
	}
}

func TestRateOfRepairs(t *testing.T) {
	leader, follower := newFake(t, ""), newFake(t, core.BugAnyOrder)
	for number := range uint64(20) {
		leader.take(entryOf(2*number+1, fmt.Sprint(number)), entryOf(2*number+2, fmt.Sprint(number)))
		follower.take(entryOf(2*number+2, fmt.Sprint(number)), entryOf(2*number+1, fmt.Sprint(number)))
	}
	r, output := newTest(t, leader, follower, func(s *Settings) { s.RepairsPerS = 5 })
	line := oneRound(t, r, output)
	if len(line.Drift) != 20 || line.Corrected < 5 || line.Corrected > 10 || line.Left != 20-line.Corrected {
		t.Errorf("%+v", line)
	}
	r, output = newTest(t, leader, follower, func(s *Settings) { s.RepairsPerS = 0 })
	if line := oneRound(t, r, output); line.Corrected != 0 || line.Left != len(line.Drift) {
		t.Errorf("%+v", line)
	}
}

func TestLimit(t *testing.T) {
	l, now := newLimit(10), time.Now()
	taken := 0
	for range 30 {
		if _, ok := l.reserve(now, false); ok {
			taken++
		}
	}
	if taken != 10 {
		t.Errorf("%d at once", taken)
	}
	if _, ok := l.reserve(now.Add(100*time.Millisecond), false); !ok {
		t.Error("nothing is earned")
	}
	if wait, ok := l.reserve(now.Add(100*time.Millisecond), true); !ok || wait != 100*time.Millisecond {
		t.Errorf("on credit after %s", wait)
	}
}

func TestReplicasThatDoNotAnswer(t *testing.T) {
	for _, away := range []string{"leader", "f1"} {
		for name, break_ := range map[string]func(*fake){
			"gone":     func(f *fake) { f.Close() },
			"error":    func(f *fake) { f.status = 500 },
			"unknown":  func(f *fake) { f.status = 404 },
			"nonsense": func(f *fake) { f.forge = func(_, text string) string { return text[:len(text)/2] } },
			"no nodes": func(f *fake) { f.forge = func(string, string) string { return `{"hash":"x"}` } },
		} {
			leader, follower := newFake(t, ""), newFake(t, "")
			leader.take(entryOf(1, "a"))
			break_(map[string]*fake{"leader": leader, "f1": follower}[away])
			r, output := newTest(t, leader, follower, nil)
			if line := oneRound(t, r, output); line.Unreachable != away || len(line.Drift) != 0 {
				t.Errorf("%s is %s: %+v", away, name, line)
			}
			if sum := r.totals.copy(); sum.Unreachable != 1 || sum.Rounds != 1 {
				t.Errorf("%+v", sum)
			}
		}
	}
}

func TestOneThatHangsDelaysNobodyForLong(t *testing.T) {
	leader, follower, hanging := newFake(t, ""), newFake(t, ""), newFake(t, "")
	free := make(chan struct{})
	hanging.asked = func(string) { <-free }
	t.Cleanup(func() { close(free) })
	r, output := newTest(t, leader, follower, func(s *Settings) { s.Followers["f2"] = hanging.URL })
	r.round(context.Background())
	lines := strings.Split(strings.TrimSpace(output.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"f1"`) ||
		!strings.Contains(lines[1], `"unreachable":"f2"`) {
		t.Errorf("%s", output)
	}
}

func snapshots(t *testing.T, r *Reconciler) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(r.settings.DataDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for index, path := range paths {
		paths[index] = filepath.Base(path)
	}
	return paths
}

func TestSnapshotsAreKeptIfTheyAreWhatTheySay(t *testing.T) {
	leader := newFake(t, "")
	r, output := newTest(t, leader, leader, nil)
	for sequence := range uint64(5) {
		leader.take(entryOf(sequence+1, "a"))
		output.Reset()
		r.snapshot(context.Background())
		if want := fmt.Sprintf(`"prefix":%d,"valid":true,"reason":""}`, sequence+1); !strings.Contains(output.String(), want) {
			t.Errorf("%s", output)
		}
		time.Sleep(2 * time.Millisecond) // The newest are known by their time.
	}
	if kept := snapshots(t, r); !slices.Equal(kept, []string{
		"snapshot-3.jsonl", "snapshot-4.jsonl", "snapshot-5.jsonl",
	}) {
		t.Errorf("kept %v", kept)
	}
	text, err := os.ReadFile(filepath.Join(r.settings.DataDir, "snapshot-5.jsonl"))
	if err != nil || strings.Count(string(text), "\n") != 6 {
		t.Errorf("%s: %v", text, err)
	}
}

func TestSnapshotsThatAreWrongAreNotKept(t *testing.T) {
	replace := func(old, new string) func(string, string) string {
		return func(_, text string) string { return strings.Replace(text, old, new, 1) }
	}
	cutLine := func(_, text string) string {
		lines := strings.SplitAfter(text, "\n")
		return strings.Join(append(lines[:2], lines[3:]...), "")
	}
	short := func(_, text string) string {
		return text[:strings.LastIndex(strings.TrimSpace(text), "\n")+1]
	}
	for reason, forge := range map[string]func(string, string) string{
		"entries do not give its digest":      replace(`"digest":"`, `"digest":"0`),
		"entries do not give its prefix hash": replace(`"prefix_hash":"`, `"prefix_hash":"1`),
		"it holds 3 entries":                  short,
		"after entry 1 comes 3":               cutLine,
		"entry 2 is no JSON":                  replace(`{"sequence":"2"`, `{sequence`),
		"entry 2: sequence":                   replace(`{"sequence":"2"`, `{"sequence":"0"`),
		"the header is no JSON":               replace(`{"prefix"`, `{prefix`),
		"its entries do not give":             replace(`"payload":"0a0161`, `"payload":"0a0162`),
	} {
		leader := newFake(t, "")
		leader.take(entryOf(1, "a"), entryOf(2, "b"), entryOf(3, "c"), entryOf(4, "a"))
		leader.forge = forge
		r, output := newTest(t, leader, leader, nil)
		r.snapshot(context.Background())
		var told Snapshot
		if err := json.Unmarshal([]byte(output.String()), &told); err != nil || told.Valid ||
			!strings.Contains(told.Reason, reason) {
			t.Errorf("%s: %s", reason, output)
		}
		if kept := snapshots(t, r); len(kept) != 0 {
			t.Errorf("%s: kept %v", reason, kept)
		}
	}
}

func TestALeaderThatIsAwayGivesNoSnapshot(t *testing.T) {
	leader := newFake(t, "")
	leader.status = 503
	r, output := newTest(t, leader, leader, nil)
	r.snapshot(context.Background())
	if sum := r.totals.copy(); output.String() != "" || sum.Unreachable != 1 || sum.Snapshots["invalid"] != 0 {
		t.Errorf("%s %+v", output, sum)
	}
}

func TestLeftoversAreTakenAway(t *testing.T) {
	leader := newFake(t, "")
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, temporaryName), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, _ := newTest(t, leader, leader, func(s *Settings) { s.DataDir = folder })
	if left := snapshots(t, r); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestControl(t *testing.T) {
	leader, follower := newFake(t, ""), newFake(t, core.BugAnyOrder)
	leader.take(entryOf(1, "a"), entryOf(2, "a"))
	follower.take(entryOf(2, "a"), entryOf(1, "a"))
	r, output := newTest(t, leader, follower, nil)
	oneRound(t, r, output)
	server := httptest.NewServer(r.Control("1.2.3"))
	defer server.Close()
	asker := newReplica("it", server.URL)
	var sum report
	if err := asker.askJSON(context.Background(), "GET", "/report", nil, &sum); err != nil {
		t.Fatal(err)
	}
	if sum.RunID != "test" || sum.Rounds != 1 || sum.Drift["older"] != 1 || sum.Corrected != 1 ||
		len(sum.LastDrifts) != 1 || sum.LastDrifts[0].Replica != "f1" || sum.LastDrifts[0].Why != "older" {
		t.Errorf("%+v", sum)
	}
	response, err := asker.ask(context.Background(), "GET", "/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text := make([]byte, 1<<16)
	count, _ := response.Body.Read(text)
	for _, line := range []string{
		"driftlab_reconciler_rounds_total 1", `driftlab_reconciler_drift_total{why="older"} 1`,
		"driftlab_reconciler_corrected_total 1", `driftlab_reconciler_snapshots_total{valid="true"} 0`,
		"driftlab_reconciler_unreachable_total 0", "driftlab_reconciler_nodes_total ",
	} {
		if !strings.Contains(string(text[:count]), line) {
			t.Errorf("%q is missing", line)
		}
	}
}

func TestSettings(t *testing.T) {
	const example = `{"schema": 1, "run_id": "r", "leader": "http://10.0.0.1:8080",
		"followers": {"f1": "http://10.0.0.2:8080"}, "every_ns": 1, "snapshot_every_ns": 0,
		"repairs_per_s": 0, "nodes_per_s": 1, "data_dir": "/data", "listen": ":8080", "log_level": "warn"}`
	if _, err := ParseSettings([]byte(example)); err != nil {
		t.Fatal(err)
	}
	for old, new := range map[string]string{
		`"schema": 1`: `"schema": 2`, `"run_id"`: `"runid"`, `"http://10.0.0.1:8080"`: `"10.0.0.1"`,
		`"http://10.0.0.2:8080"`: `""`, `"every_ns": 1`: `"every_ns": 0`, `"nodes_per_s": 1`: `"nodes_per_s": 0`,
		`"repairs_per_s": 0`: `"repairs_per_s": -1`, `"/data"`: `""`, `"warn"`: `"loud"`,
	} {
		changed := strings.Replace(example, old, new, 1)
		if _, err := ParseSettings([]byte(changed)); changed == example || err == nil {
			t.Errorf("taken: %s", new)
		}
	}
}

func TestStopEndsARun(t *testing.T) {
	leader, follower := newFake(t, ""), newFake(t, "")
	leader.take(entryOf(1, "a"))
	r, _ := newTest(t, leader, follower, func(s *Settings) { s.NodesPerS, s.SnapshotEveryNs = 1, 1e9 })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		r.Run(ctx)
		close(done)
	}()
	cancel()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
		t.Error("it goes on")
	}
}
