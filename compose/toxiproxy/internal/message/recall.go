package message

import (
	"encoding/json"
	"fmt"
	"math"

	"driftlab/toxiproxy/internal/fate"
)

// recall is what a link that remembers needs beside its rows; nil means "as it is".
type recall struct {
	extras []fate.Extra
	leaves []fate.Behaviour
	words  *int64
}

func (r recall) isAsked() bool {
	return r.extras != nil || r.leaves != nil || r.words != nil
}

// over returns what is asked for, and what is there for the rest.
func (r recall) over(there recall) recall {
	if r.extras == nil {
		r.extras = there.extras
	}
	if r.leaves == nil {
		r.leaves = there.leaves
	}
	if r.words == nil {
		r.words = there.words
	}
	return r
}

func parseRecall(fields map[string]json.RawMessage) (recall, error) {
	var asked recall
	lists, err := parseLists(fields, "extras")
	if err != nil {
		return asked, err
	}
	if lists != nil {
		asked.extras = make([]fate.Extra, len(lists))
	}
	for index, list := range lists {
		if len(list) != fate.ExtraLength {
			return asked, fmt.Errorf("extra %d must have %d columns, not %d", index, fate.ExtraLength, len(list))
		}
		copy(asked.extras[index][:], list)
	}
	if asked.leaves, err = parseLeaves(fields); err != nil {
		return asked, err
	}
	if asked.words, err = parseInteger(fields, "memory_words"); err != nil {
		return asked, err
	}
	if asked.words != nil && (*asked.words < 0 || *asked.words > memoryLimit) {
		return asked, fmt.Errorf("memory_words must lie in 0..%d, not be %d", memoryLimit, *asked.words)
	}
	return asked, nil
}

func parseLeaves(fields map[string]json.RawMessage) ([]fate.Behaviour, error) {
	lists, err := parseLists(fields, "leaves")
	if err != nil || lists == nil {
		return nil, err
	}
	if len(lists) > leafLimit {
		return nil, fmt.Errorf("there may be at most %d leaves, not %d", leafLimit, len(lists))
	}
	leaves := make([]fate.Behaviour, len(lists))
	for index, list := range lists {
		if len(list) != fate.RowLength+fate.ExtraLength {
			return nil, fmt.Errorf("leaf %d must have %d columns, not %d", index, fate.RowLength+fate.ExtraLength,
				len(list))
		}
		copy(leaves[index].Row[:], list)
		copy(leaves[index].Extra[:], list[fate.RowLength:])
	}
	return leaves, nil
}

// leafLists returns leaves as they are uploaded.
func leafLists(leaves []fate.Behaviour) [][]int64 {
	lists := make([][]int64, len(leaves))
	for index := range leaves {
		lists[index] = append(append([]int64{}, leaves[index].Row[:]...), leaves[index].Extra[:]...)
	}
	return lists
}

func (r recall) check(rowCount, tableCount int) error {
	if len(r.extras) != 0 && len(r.extras) != rowCount {
		return fmt.Errorf("there are %d extras and %d rows; there must be one a row, or none", len(r.extras), rowCount)
	}
	for index := range r.extras {
		extra := &r.extras[index]
		if err := r.checkExtra(extra, fmt.Sprintf("extra %d", index)); err != nil {
			return err
		}
		if err := r.checkRules(extra, index); err != nil {
			return err
		}
	}
	for index := range r.leaves {
		leaf := &r.leaves[index]
		name := fmt.Sprintf("leaf %d", index)
		if err := checkRow(&leaf.Row, name, tableCount); err != nil {
			return err
		}
		if err := r.checkExtra(&leaf.Extra, name); err != nil {
			return err
		}
		for column := fate.Rules; column < fate.ExtraLength; column++ {
			if leaf.Extra[column] != 0 {
				return fmt.Errorf("%s has a rule of its own", name)
			}
		}
	}
	return nil
}

// longest bounds each time and rate so far that no sum of two leaves 63 bits.
const longest = 1 << 61

// extraColumns gives the name of each column of an extra before the rules, its smallest and its largest value; a slot's
// largest is that of the memory.
var extraColumns = [fate.Rules]struct {
	name              string
	smallest, largest int64
}{
	fate.HoldUntilNS:     {"hold_until_ns", 0, 0},
	fate.FreeAtNS:        {"free_at_ns", 0, 0},
	fate.NextKillNS:      {"next_kill_ns", 0, 0},
	fate.KillEpoch:       {"kill_epoch", 0, 0},
	fate.Kills:           {"kills", 0, 0},
	fate.BytesPerS:       {"bytes_per_s", 0, longest},
	fate.QueueNS:         {"queue_ns", 0, longest},
	fate.QueueSlot:       {"queue_slot", -1, math.MaxInt64},
	fate.ChainSlot:       {"chain_slot", -1, math.MaxInt64},
	fate.ChainToBad:      {"chain_to_bad_ppm", 0, 1_000_000},
	fate.ChainToGood:     {"chain_to_good_ppm", 0, 1_000_000},
	fate.ChainBadLoss:    {"chain_bad_ppm", 0, 1_000_000},
	fate.ChainGoodLoss:   {"chain_good_ppm", 0, 1_000_000},
	fate.ChainStart:      {"chain_start_ppm", 0, 1_000_000},
	fate.CorrelatedSlot:  {"correlated_slot", -1, math.MaxInt64},
	fate.CorrelatedPPM:   {"correlated_ppm", 0, 1_000_000},
	fate.CorrelationPPM:  {"correlation_ppm", 0, 1_000_000},
	fate.CorruptPPM:      {"corrupt_ppm", 0, 1_000_000},
	fate.StreamSlot:      {"stream_slot", -1, -1},
	fate.RTONS:           {"rto_ns", 0, 0},
	fate.RTOCapNS:        {"rto_cap_ns", 0, 0},
	fate.Retransmissions: {"retransmissions", 0, 0},
	fate.DialNS:          {"dial_ns", 0, 0},
	fate.BackoffNS:       {"backoff_ns", 0, 0},
	fate.BackoffCapNS:    {"backoff_cap_ns", 0, 0},
}

func (r recall) checkExtra(extra *fate.Extra, name string) error {
	for column, allowed := range extraColumns {
		largest := allowed.largest
		if largest == math.MaxInt64 {
			largest = *r.words - 1
		}
		if extra[column] < allowed.smallest || extra[column] > largest {
			return fmt.Errorf("%s of %s must lie in %d..%d, not be %d", allowed.name, name, allowed.smallest,
				largest, extra[column])
		}
	}
	if extra[fate.BytesPerS] > 0 && extra[fate.QueueSlot] < 0 {
		return fmt.Errorf("%s has a bandwidth and no slot for its queue", name)
	}
	return nil
}

func (r recall) checkRules(extra *fate.Extra, index int) error {
	rules, first := extra[fate.Rules], extra[fate.Leaves]
	if rules < 0 || rules > fate.RulesMax {
		return fmt.Errorf("extra %d must have 0 to %d rules, not %d", index, fate.RulesMax, rules)
	}
	if rules == 0 {
		return nil
	}
	if first < 0 || first+1<<rules > int64(len(r.leaves)) {
		return fmt.Errorf("extra %d chooses from leaf %d on, but there are %d leaves", index, first, len(r.leaves))
	}
	for rule := range rules {
		most, slot := extra[fate.Rule0+fate.RuleWords*rule+1], extra[fate.Rule0+fate.RuleWords*rule+2]
		if most < 0 || slot < 0 || (most > 0 && slot >= *r.words) {
			return fmt.Errorf("rule %d of extra %d counts to %d in slot %d, but there are %d words of memory", rule,
				index, most, slot, *r.words)
		}
	}
	return nil
}
