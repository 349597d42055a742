package core

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
)

const (
	// MerkleDepth is the number of levels below the root, MerkleFan of children of a node.
	MerkleDepth = 4
	MerkleFan   = 16
)

// MerkleNode is one node of the tree. Children is for inner nodes, Rows for the buckets.
type MerkleNode struct {
	Hash     string
	Children []string
	Rows     []Cell
}

// tree is a Merkle tree over the applied state. It knows the keys; the cells stay where they are.
type tree struct {
	// keys holds those of each bucket, ascending.
	keys map[uint32][]string
	// hashes holds, by level, each node that is not empty; "" is to be found again.
	hashes [MerkleDepth + 1]map[uint32]string
}

func newTree() *tree {
	made := &tree{keys: make(map[uint32][]string)}
	for level := range made.hashes {
		made.hashes[level] = make(map[uint32]string)
	}
	return made
}

// touch notes that what a key holds has changed.
func (t *tree) touch(key string) {
	sum := sha256.Sum256([]byte(key))
	bucket := uint32(binary.BigEndian.Uint16(sum[:2]))
	keys := t.keys[bucket]
	if at, found := slices.BinarySearch(keys, key); !found {
		t.keys[bucket] = slices.Insert(keys, at, key)
	}
	for level := range t.hashes {
		t.hashes[level][bucket>>(4*(MerkleDepth-level))] = ""
	}
}

// hash is the text of a node, found again where something below it has changed.
func (t *tree) hash(level int, index uint32, cells map[string]Cell, bug Bug) string {
	text, filled := t.hashes[level][index]
	if !filled || text != "" {
		return text
	}
	hash := sha256.New()
	if level == MerkleDepth {
		var head []byte
		for _, cell := range t.rows(index, cells, bug) {
			head = cell.appendHead(head[:0])
			hash.Write(head)
			hash.Write(cell.Payload)
		}
	} else {
		hash.Write([]byte(strings.Join(t.children(level, index, cells, bug), ",")))
	}
	text = hex.EncodeToString(hash.Sum(nil))
	t.hashes[level][index] = text
	return text
}

func (t *tree) children(level int, index uint32, cells map[string]Cell, bug Bug) []string {
	texts := make([]string, MerkleFan)
	for child := range texts {
		texts[child] = t.hash(level+1, index*MerkleFan+uint32(child), cells, bug)
	}
	return texts
}

// rows are the cells of a bucket by ascending key.
func (t *tree) rows(bucket uint32, cells map[string]Cell, bug Bug) []Cell {
	rows := make([]Cell, 0, len(t.keys[bucket]))
	for _, key := range t.keys[bucket] {
		cell := cells[key]
		cell.Sequence = bug.Number(cell.Sequence)
		rows = append(rows, cell)
	}
	return rows
}

// Merkle reads one node; each part of the path is 0..15.
func (b *base) Merkle(path []int) MerkleNode {
	if b.tree == nil {
		b.tree = newTree()
		for key := range b.cells {
			b.tree.touch(key)
		}
	}
	index, level := uint32(0), len(path)
	for _, digit := range path {
		index = index*MerkleFan + uint32(digit)
	}
	node := MerkleNode{Hash: b.tree.hash(level, index, b.cells, b.config.Bug)}
	if level == MerkleDepth {
		node.Rows = b.tree.rows(index, b.cells, b.config.Bug)
	} else {
		node.Children = b.tree.children(level, index, b.cells, b.config.Bug)
	}
	return node
}
