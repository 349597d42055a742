package message

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"driftlab/toxiproxy/internal/fate"
)

const (
	rowLimit    = 4_096
	tableLimit  = 256
	leafLimit   = 32_768
	memoryLimit = 65_536
)

var attributeNames = []string{"at_ns", "extras", "key", "leaves", "memory_words", "row", "rows", "tables"}

// attributes is what an update asks for; nil means "as it is".
type attributes struct {
	key    *int64
	row    *int64
	at     *int64 // CLOCK_MONOTONIC at which the row comes into force; at once if nil
	rows   []fate.Row
	tables []fate.Table
	recall recall
}

// UnmarshalJSON sets the attributes that are named and keeps the others. It refuses what it does not know and changes
// nothing when it refuses, because the library would go on with whatever has been set.
func (t *Toxic) UnmarshalJSON(data []byte) error {
	asked, err := parseAttributes(data)
	if err != nil {
		return err
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.advance(nowNS())
	if err := checkPlan(&asked); err != nil {
		return err
	}
	if !t.set && (asked.key == nil || asked.rows == nil) {
		return fmt.Errorf("a new message toxic needs the attributes key and rows")
	}
	key, rows, tables, row := t.key, t.rows, t.tables, int64(t.row)
	if asked.key != nil {
		key = *asked.key
	}
	if asked.rows != nil {
		rows = asked.rows
	}
	if asked.tables != nil {
		tables = asked.tables
	}
	if asked.row != nil {
		row = *asked.row
	}
	if row < 0 || row >= int64(len(rows)) {
		return fmt.Errorf("row %d is out of range: there are %d rows, the first is 0", row, len(rows))
	}
	if asked.at != nil {
		return t.plan(int(row), *asked.at)
	}
	if asked.rows != nil || asked.tables != nil {
		if err := checkRows(rows, len(tables)); err != nil {
			return err
		}
	}
	recalls := asked.recall.over(recall{t.extras, t.leaves, new(int64(len(t.memory)))})
	if err := recalls.check(len(rows), len(tables)); err != nil {
		return err
	}
	t.key, t.rows, t.tables, t.row, t.set = key, rows, tables, int(row), true
	t.extras, t.leaves = recalls.extras, recalls.leaves
	if asked.recall.isAsked() {
		t.memory = make([]int64, *recalls.words) // slots may mean something else from now on
	}
	if asked.row != nil {
		t.rowNS = monotonicNS()
	}
	if asked.row != nil || asked.rows != nil {
		t.planned = nil
	}
	t.prepare()
	return nil
}

// parseAttributes checks everything that can be checked without the current settings.
func parseAttributes(data []byte) (attributes, error) {
	var asked attributes
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil || fields == nil {
		return asked, fmt.Errorf("the attributes must be an object")
	}
	for name := range fields {
		if !slices.Contains(attributeNames, name) {
			return asked, fmt.Errorf("unknown attribute %q; known are %s", name,
				strings.Join(attributeNames, ", "))
		}
	}
	var err error
	if asked.key, err = parseInteger(fields, "key"); err != nil {
		return asked, err
	}
	if asked.key != nil && *asked.key < 0 {
		return asked, fmt.Errorf("key must lie in 0..%d, not be %d", int64(math.MaxInt64), *asked.key)
	}
	if asked.row, err = parseInteger(fields, "row"); err != nil {
		return asked, err
	}
	if asked.at, err = parseInteger(fields, "at_ns"); err != nil {
		return asked, err
	}
	if asked.rows, err = parseRows(fields); err != nil {
		return asked, err
	}
	if asked.recall, err = parseRecall(fields); err != nil {
		return asked, err
	}
	asked.tables, err = parseTables(fields)
	return asked, err
}

func parseInteger(fields map[string]json.RawMessage, name string) (*int64, error) {
	data, present := fields[name]
	if !present {
		return nil, nil
	}
	var value *int64
	if err := json.Unmarshal(data, &value); err != nil || value == nil {
		return nil, fmt.Errorf("%s must be a 64-bit integer", name)
	}
	return value, nil
}

// parseLists reads a list of lists of integers. It tells an absent list (nil) from an empty one.
func parseLists(fields map[string]json.RawMessage, name string) ([][]int64, error) {
	data, present := fields[name]
	if !present {
		return nil, nil
	}
	// A null inside a list would silently be read as 0.
	var lists [][]int64
	if err := json.Unmarshal(data, &lists); err != nil || lists == nil || bytes.Contains(data, []byte("null")) {
		return nil, fmt.Errorf("%s must be a list of lists of 64-bit integers", name)
	}
	return lists, nil
}

func parseRows(fields map[string]json.RawMessage) ([]fate.Row, error) {
	lists, err := parseLists(fields, "rows")
	if err != nil || lists == nil {
		return nil, err
	}
	if len(lists) == 0 || len(lists) > rowLimit {
		return nil, fmt.Errorf("there must be 1 to %d rows, not %d", rowLimit, len(lists))
	}
	rows := make([]fate.Row, len(lists))
	for index, list := range lists {
		if len(list) != fate.RowLength {
			return nil, fmt.Errorf("row %d must have %d columns, not %d", index, fate.RowLength, len(list))
		}
		copy(rows[index][:], list)
	}
	return rows, nil
}

func parseTables(fields map[string]json.RawMessage) ([]fate.Table, error) {
	lists, err := parseLists(fields, "tables")
	if err != nil || lists == nil {
		return nil, err
	}
	if len(lists) > tableLimit {
		return nil, fmt.Errorf("there may be at most %d tables, not %d", tableLimit, len(lists))
	}
	tables := make([]fate.Table, len(lists))
	for index, list := range lists {
		if len(list) != fate.Knots {
			return nil, fmt.Errorf("table %d must have %d knots, not %d", index, fate.Knots, len(list))
		}
		for knot, delayNS := range list {
			if delayNS < 0 || delayNS > fate.LargestNS {
				return nil, fmt.Errorf("knot %d of table %d must lie in 0..%d ns, not be %d", knot, index,
					int64(fate.LargestNS), delayNS)
			}
		}
		tables[index] = list
	}
	return tables, nil
}

// columns gives each column of a row before the table indices its name and its largest value.
var columns = [fate.Table0]struct {
	name    string
	largest int64
}{
	fate.Cut:          {"cut", 1},
	fate.LossPPM:      {"loss_ppm", 1_000_000},
	fate.DuplicatePPM: {"duplicate_ppm", 1_000_000},
	fate.ReorderPPM:   {"reorder_ppm", 1_000_000},
	fate.ReorderByNS:  {"reorder_by_ns", fate.LargestNS},
}

func checkRows(rows []fate.Row, tableCount int) error {
	for index := range rows {
		if err := checkRow(&rows[index], fmt.Sprintf("row %d", index), tableCount); err != nil {
			return err
		}
	}
	return nil
}

func checkRow(row *fate.Row, name string, tableCount int) error {
	for column, allowed := range columns {
		if row[column] < 0 || row[column] > allowed.largest {
			return fmt.Errorf("%s of %s must lie in 0..%d, not be %d", allowed.name, name, allowed.largest, row[column])
		}
	}
	for _, table := range row[fate.Table0:] {
		if table < -1 || table >= int64(tableCount) {
			return fmt.Errorf("%s names table %d, but there are %d tables (-1 is unused)", name, table, tableCount)
		}
	}
	return nil
}
