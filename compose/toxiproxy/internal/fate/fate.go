package fate

// Columns of a row. The delay columns hold indices into the list of tables, -1 where unused; their delays add up.
const (
	Cut          = 0
	LossPPM      = 1
	DuplicatePPM = 2
	ReorderPPM   = 3
	ReorderByNS  = 4
	Table0       = 5
	TableCount   = 4
	RowLength    = Table0 + TableCount
)

// Negative answers say why a copy was not delivered.
const (
	Lost   = -1
	CutOff = -2
	NoCopy = -3
)

const (
	// Knots is the length of a table: a delay law by its quantiles, in nanoseconds. They lie 1/4096 apart up to the
	// probability 1 - 1/4096; from there four lie in each halving of what is left, and one ends the table.
	Knots          = lastKnot + 2
	tailKnot       = 4095
	halvings       = 12
	stepsInHalving = 4
	lastKnot       = tailKnot + halvings*stepsInHalving
	// LargestNS bounds every knot, about nine minutes: it keeps each product in the lookup within 63 bits.
	LargestNS = 1 << 39
)

// Row is a link's behaviour at an instant: the network's baseline and every active fault, composed.
type Row [RowLength]int64

// Table is the inverse of a cumulative distribution, with Knots entries.
type Table []int64

// CleanRow is the row of a link that does nothing to its messages.
var CleanRow = Row{0, 0, 0, 0, 0, -1, -1, -1, -1}

// Decision is the fate of a message and of its duplicate: delays in nanoseconds, or one of the negative answers.
type Decision struct {
	First, Second int64
	// Reordered are the copies that are late by the row's reordering delay as well, Corrupt those that arrive as garbage.
	Reordered, Corrupt [2]bool
}

// Lookup returns the table's quantile at a 63-bit draw: 12 bits choose the knot, 20 bits interpolate.
func Lookup(table Table, draw int64) int64 {
	index := draw >> 51
	if index == tailKnot {
		return tailLookup(table, draw)
	}
	low := table[index]
	return low + (((table[index+1] - low) * ((draw >> 31) & 0xFFFFF)) >> 20)
}

// tailLookup returns the table's quantile at a draw in the last 4,096th.
func tailLookup(table Table, draw int64) int64 {
	left := 1<<63 - 1 - draw + 1 // in units of 2^-63, from 1 to 2^51
	place, width := int64(tailKnot), 50
	for place < lastKnot && left <= 1<<width {
		place += stepsInHalving
		width--
	}
	var passed int64
	if place == lastKnot {
		passed = (2<<width - left) >> (width - 19) // the rest of the table is one interval
	} else {
		passed = (2<<width - left) >> (width - 22)
		place += passed >> 20
		passed &= 0xFFFFF
	}
	low := table[place]
	return low + (((table[place+1] - low) * passed) >> 20)
}

// Decide returns the fate of the message with this key. Duplication is decided first, and each copy has its own loss,
// delay and reordering, as in tc-netem. A cut takes everything.
func Decide(row *Row, tables []Table, key int64) Decision {
	if row[Cut] != 0 {
		return Decision{First: CutOff, Second: NoCopy}
	}
	decision := Decision{Second: NoCopy}
	decision.First, decision.Reordered[0] = copyDelayNS(row, tables, key)
	if Below(Mix(key, wordDuplicate), row[DuplicatePPM]) {
		decision.Second, decision.Reordered[1] = copyDelayNS(row, tables, Mix(key, wordCopy))
	}
	return decision
}

// copyDelayNS returns the delay of one copy, or Lost, and whether the copy is reordered.
func copyDelayNS(row *Row, tables []Table, key int64) (int64, bool) {
	if Below(Mix(key, wordLoss), row[LossPPM]) {
		return Lost, false
	}
	delayNS := int64(0)
	for slot := int64(0); slot < TableCount; slot++ {
		if table := row[Table0+slot]; table >= 0 {
			delayNS += Lookup(tables[table], Mix(key, wordDelay+slot<<8))
		}
	}
	if Below(Mix(key, wordReorder), row[ReorderPPM]) {
		return delayNS + row[ReorderByNS], true
	}
	return delayNS, false
}
