package core

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"driftlab/replica/wire"
)

type merkleVectors struct {
	Digest, Rounded string
	Nodes           map[string]string
}

// streamed is a follower by key that took a recorded stream.
func streamed(t *testing.T, name string, bug Bug) *Follower {
	t.Helper()
	file, err := os.Open(filepath.Join("..", "..", "..", "golden", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	config := testConfig("f1")
	config.Ordering, config.QueueLimit, config.Bug = "key", math.MaxInt, bug
	follower := NewFollower(config, &Counters{})
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var line struct{ Sequence, Token, Payload string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		payload, err := hex.DecodeString(line.Payload)
		if err != nil {
			t.Fatal(err)
		}
		sequence, err := strconv.ParseUint(line.Sequence, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		before := follower.counters.Get(Duplicates)
		follower.Receive(0, &wire.Envelope{
			Kind: wire.Kind_KIND_UPDATE, Source: "leader", Sequence: sequence, Payload: payload,
		})
		if follower.counters.Get(Duplicates) == before {
			follower.Committed(0, 1)
		}
		if len(follower.cells) == 3 {
			// From here on the tree follows what changes; a fresh one is not enough of a test.
			follower.Merkle(nil)
		}
	}
	return follower
}

func digits(path string) []int {
	numbers := make([]int, len(path))
	for index, digit := range path {
		numbers[index] = strings.IndexRune("0123456789abcdef", digit)
	}
	return numbers
}

func TestGoldenMerkleTree(t *testing.T) {
	var vectors map[string]json.RawMessage
	golden(t, "merkle.json", &vectors)
	for _, name := range []string{"wide", "stream"} {
		var want merkleVectors
		if err := json.Unmarshal(vectors[name], &want); err != nil || len(want.Nodes) < 20 {
			t.Fatalf("%d nodes: %v", len(want.Nodes), err)
		}
		follower := streamed(t, name, "")
		if got := DigestCells(follower.Cells()); got != want.Digest {
			t.Errorf("%s: digest %s", name, got)
		}
		for path, hash := range want.Nodes {
			node := follower.Merkle(digits(path))
			if node.Hash != hash {
				t.Errorf("%s: node %q is %s", name, path, node.Hash)
			}
			if len(path) == MerkleDepth {
				if DigestCells(node.Rows) != hash {
					t.Errorf("%s: the rows of %q are not its hash", name, path)
				}
				continue
			}
			for digit, child := range node.Children {
				if below := path + strconv.FormatInt(int64(digit), 16); want.Nodes[below] != child {
					t.Errorf("%s: child %q is %s", name, below, child)
				}
			}
		}
	}
	var wide merkleVectors
	if err := json.Unmarshal(vectors["wide"], &wide); err != nil {
		t.Fatal(err)
	}
	seeded := streamed(t, "wide", BugFloats)
	if got := DigestCells(seeded.Cells()); got != wide.Rounded {
		t.Errorf("seeded: digest %s", got)
	}
	if seeded.Merkle(nil).Hash == wide.Nodes[""] {
		t.Error("the seeded bug does not reach the tree")
	}
}

func TestEmptyTree(t *testing.T) {
	node := NewFollower(testConfig("f1"), &Counters{}).Merkle(nil)
	if node.Hash != "" || len(node.Children) != MerkleFan || strings.Join(node.Children, "") != "" {
		t.Errorf("%+v", node)
	}
}
