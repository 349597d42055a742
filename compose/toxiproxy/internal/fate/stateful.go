package fate

// Columns of an extra: what a link does that remembers. Slots are places in the link's memory, -1 where unused. The first
// five and those of streams are the simulator's alone; here they stay unused.
const (
	HoldUntilNS = iota
	FreeAtNS
	NextKillNS
	KillEpoch
	Kills
	BytesPerS  // 0: no limit
	QueueNS    // how long a message may wait to be sent
	QueueSlot  // 1 word: when the link will have sent all it has
	ChainSlot  // 1 word: 1 good, 2 bad
	ChainToBad // this and the next four in millionths
	ChainToGood
	ChainBadLoss
	ChainGoodLoss
	ChainStart     // the chance that the chain begins in the bad state
	CorrelatedSlot // 1 word: the last draw, plus 1
	CorrelatedPPM
	CorrelationPPM
	CorruptPPM
	StreamSlot
	RTONS
	RTOCapNS
	Retransmissions
	DialNS
	BackoffNS
	BackoffCapNS
	Rules  // how many rules decide which behaviour is in force
	Leaves // the first of the 2^Rules behaviours to choose from
	Rule0  // per rule: bit mask of kinds, how many messages (0: all), slot of the counter

	RuleWords   = 3
	RulesMax    = 3
	ExtraLength = Rule0 + RuleWords*RulesMax
)

// Overflowed says that the link's queue had no room for a message.
const Overflowed = -4

// lastBit is the highest bit of a mask of kinds: set where a rule holds for all kinds, and for kinds that have no bit.
const lastBit = 63

// Extra is the second row of a link that remembers.
type Extra [ExtraLength]int64

// CleanExtra is the extra of a link that remembers nothing.
var CleanExtra = Extra{QueueSlot: -1, ChainSlot: -1, CorrelatedSlot: -1, StreamSlot: -1}

// Behaviour is one of those that rules choose from.
type Behaviour struct {
	Row   Row
	Extra Extra
}

// Message is what a link that remembers must know of a message beside its key. NowNS is above 0.
type Message struct{ NowNS, SizeBytes, Kind int64 }

// DecideRemembering returns the fate of a message on a link that remembers, and keeps in memory what later messages need.
// A word of memory that is 0 was never used.
func DecideRemembering(
	row *Row, extra *Extra, leaves []Behaviour, tables []Table, memory []int64, key int64, message Message,
) Decision {
	if extra[Rules] > 0 {
		leaf := &leaves[leafOf(extra, memory, message.Kind)]
		row, extra = &leaf.Row, &leaf.Extra
	}
	if row[Cut] != 0 {
		return Decision{First: CutOff, Second: NoCopy}
	}
	departNS := departureNS(extra, memory, message.NowNS, message.SizeBytes)
	if departNS == Overflowed {
		return Decision{First: Overflowed, Second: NoCopy}
	}
	if chainTakes(extra, memory, key) {
		return Decision{First: Lost, Second: NoCopy}
	}
	decision := Decide(row, tables, key)
	if decision.First >= 0 {
		decision.First += departNS - message.NowNS
		decision.Corrupt[0] = Below(Mix(key, wordCorrupt), extra[CorruptPPM])
	}
	if decision.Second >= 0 {
		decision.Second += departNS - message.NowNS
		decision.Corrupt[1] = Below(Mix(Mix(key, wordCopy), wordCorrupt), extra[CorruptPPM])
	}
	return decision
}

// leafOf returns which behaviour holds for a message of that kind, and counts it against the rules it matches.
func leafOf(extra *Extra, memory []int64, kind int64) int64 {
	leaf := extra[Leaves]
	for rule := int64(0); rule < extra[Rules]; rule++ {
		words := extra[Rule0+RuleWords*rule:]
		if words[0]>>min(kind, lastBit)&1 == 0 {
			continue
		}
		if most, slot := words[1], words[2]; most > 0 {
			if memory[slot] >= most {
				continue
			}
			memory[slot]++
		}
		leaf += 1 << rule
	}
	return leaf
}

// departureNS returns when a message has left: when the link has sent what is before it and itself. It is Overflowed if
// the message would wait longer than the queue allows (drop tail).
func departureNS(extra *Extra, memory []int64, nowNS, sizeBytes int64) int64 {
	if extra[BytesPerS] == 0 {
		return nowNS
	}
	freeNS := &memory[extra[QueueSlot]]
	beginNS := max(nowNS, *freeNS)
	if beginNS-nowNS > extra[QueueNS] {
		return Overflowed
	}
	*freeNS = beginNS + sizeBytes*1_000_000_000/extra[BytesPerS]
	return *freeNS
}

// chainTakes answers whether a chain of loss takes the message; every message moves the chain. Gilbert-Elliott as in
// tc-netem: the state moves first, and the state before the move decides. Correlated loss as tc-netem computes it: each
// draw is mixed with the one before, and the mix is compared with the share.
func chainTakes(extra *Extra, memory []int64, key int64) bool {
	taken := false
	if extra[ChainSlot] >= 0 {
		state := &memory[extra[ChainSlot]]
		if *state == 0 {
			*state = stateOf(Below(Mix(key, wordChainStart), extra[ChainStart]))
		}
		move, loss := Mix(key, wordChainMove), Mix(key, wordChainLoss)
		if *state == 1 {
			taken = Below(loss, extra[ChainGoodLoss])
			*state = stateOf(Below(move, extra[ChainToBad]))
		} else {
			taken = Below(loss, extra[ChainBadLoss])
			*state = stateOf(!Below(move, extra[ChainToGood]))
		}
	}
	if extra[CorrelatedSlot] >= 0 {
		last := &memory[extra[CorrelatedSlot]]
		before := *last - 1
		if before < 0 {
			before = Mix(key, wordChainStart) >> 32
		}
		value := Mix(key, wordCorrelated) >> 32
		value = (value*(oneMillion-extra[CorrelationPPM]) + before*extra[CorrelationPPM]) / oneMillion
		*last = value + 1
		taken = taken || value*oneMillion>>31 < extra[CorrelatedPPM]
	}
	return taken
}

// stateOf returns the state of a chain as its memory holds it.
func stateOf(bad bool) int64 {
	if bad {
		return 2
	}
	return 1
}
