// Package fate decides what happens to one message on one link: delivered or not, how many copies, how late.
//
// It mirrors the lab's Python reference integer for integer; the golden vectors hold the two together. Every decision is
// a pure function of a key, so a link meets the same luck in every run that uses the same key.
package fate

const oneMillion = 1_000_000

// Words that keep the draws made for different purposes apart. They are part of every stored result: never renumber.
const (
	wordLoss       = 8
	wordDuplicate  = 9
	wordReorder    = 10
	wordDelay      = 11
	wordCopy       = 12
	wordChainStart = 18
	wordChainMove  = 19
	wordChainLoss  = 20
	wordCorrelated = 21
	wordCorrupt    = 22
)

// Mix returns the 63-bit key derived from a 63-bit key and any word, by the SplitMix64 finaliser. The key is multiplied
// before the word is added, which makes the order of words matter.
func Mix(key, word int64) int64 {
	z := uint64(key)*0xD1342543DE82EF95 + uint64(word) + 0x9E3779B97F4A7C15
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return int64((z ^ (z >> 31)) >> 1)
}

// Below answers true with probability ppm millionths (0 to 1,000,000), from a 63-bit draw.
func Below(draw, ppm int64) bool {
	return ((draw>>23)*oneMillion)>>40 < ppm
}

// Scale returns a uniform integer in [0, bound) from a 63-bit draw; bound lies in [1, 2^39). No fate needs it: it stands
// here so that the whole file of draw vectors is replayed.
func Scale(draw, bound int64) int64 {
	return ((draw >> 39) * bound) >> 24
}

// MessageKey returns the key of frame `number` (the first is 0) of the link with key `link`.
func MessageKey(link, number int64) int64 {
	return Mix(Mix(link, number), 0)
}
