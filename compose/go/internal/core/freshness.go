package core

import "slices"

// pairsMax bounds the news that wait for the prefix to catch up with them.
const pairsMax = 1024

// pair says that the log had this length at this moment.
type pair struct {
	sequence uint64
	clockNs  int64
}

// freshness is what a follower knows about the moments up to which it has applied everything.
type freshness struct {
	asOfNs int64
	// ahead holds what is beyond the prefix, by ascending sequence.
	ahead []pair
}

// tell takes in one pair. A time of 0 tells nothing.
func (k *freshness) tell(prefix, sequence uint64, clockNs int64) {
	if clockNs <= 0 {
		return
	}
	if sequence <= prefix {
		k.asOfNs = max(k.asOfNs, clockNs)
		return
	}
	at, found := slices.BinarySearchFunc(k.ahead, sequence, func(p pair, wanted uint64) int {
		switch {
		case p.sequence < wanted:
			return -1
		case p.sequence > wanted:
			return 1
		}
		return 0
	})
	if found {
		k.ahead[at].clockNs = max(k.ahead[at].clockNs, clockNs)
	} else if len(k.ahead) < pairsMax {
		k.ahead = slices.Insert(k.ahead, at, pair{sequence, clockNs})
	}
}

// reach says how far everything is applied now.
func (k *freshness) reach(prefix uint64) {
	reached := 0
	for reached < len(k.ahead) && k.ahead[reached].sequence <= prefix {
		k.asOfNs = max(k.asOfNs, k.ahead[reached].clockNs)
		reached++
	}
	if reached > 0 {
		k.ahead = slices.Delete(k.ahead, 0, reached)
	}
}
