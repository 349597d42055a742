package core

// Correct takes over entries that are known to be right: what is missing is stored, and what the
// read model or the log holds otherwise is put right.
func (f *Follower) Correct(nowNs int64, entries []Entry) ([]Command, Corrections) {
	f.begin()
	var done Corrections
	for index := range entries {
		switch entry := &entries[index]; {
		case f.beyond[entry.Sequence] == nil && entry.Sequence > f.prefix:
			if entry.Sequence > f.window() {
				done.Unchanged++
				continue
			}
			f.store(*entry, 0)
			done.Stored++
		case f.wrong(entry):
			f.correct(nowNs, entry)
			done.Corrected++
		default:
			done.Unchanged++
		}
	}
	return f.out, done
}

// wrong says whether the row of a stored entry's key must change. An entry behind a gap has no
// row yet where updates are applied in order, nor has one that is still being stored.
func (f *Follower) wrong(entry *Entry) bool {
	if waiting := f.beyond[entry.Sequence]; waiting != nil &&
		(f.config.Ordering == "sequence" || !waiting.durable) {
		return false
	}
	if _, busy := f.correcting[entry.Sequence]; busy {
		return false
	}
	row, found := f.cells[entry.Key]
	return !found || row.Sequence < entry.Sequence ||
		row.Sequence == entry.Sequence && string(row.Payload) != string(entry.Payload)
}

// correct puts one entry right, at once unless its stored bytes have to change first.
func (f *Follower) correct(nowNs int64, entry *Entry) {
	if PayloadWord(entry.Payload) == f.storedWord(entry.Sequence) {
		f.put(entry)
		f.corrected(nowNs, entry)
		return
	}
	f.correcting[entry.Sequence] = struct{}{}
	f.storing = append(f.storing, storing{sequence: entry.Sequence, correction: entry})
	f.emit(Append{Entry: entry})
}

func (f *Follower) storedWord(sequence uint64) uint64 {
	if waiting := f.beyond[sequence]; waiting != nil {
		return waiting.word
	}
	return f.words[sequence-1]
}

// corrected tells of it.
func (f *Follower) corrected(nowNs int64, entry *Entry) {
	f.count(Corrected)
	f.emit(Emit{Name: "corrected", Sequence: entry.Sequence, Token: entry.Token, TimeNs: nowNs})
}

// rewrite follows the log, whose bytes have changed. A newer update may have come meanwhile.
// It returns from where the prefix hash is to be found again, 0 for nowhere.
func (f *Follower) rewrite(nowNs int64, entry *Entry, from uint64) uint64 {
	word := PayloadWord(entry.Payload)
	if waiting := f.beyond[entry.Sequence]; waiting != nil {
		waiting.entry, waiting.word = *entry, word
	} else {
		f.words[entry.Sequence-1] = word
		from = max(from, entry.Sequence)
	}
	if row, found := f.cells[entry.Key]; !found || row.Sequence <= entry.Sequence {
		f.put(entry)
	}
	f.corrected(nowNs, entry)
	return from
}

// rehash finds the prefix hash again.
func (f *Follower) rehash() {
	f.prefixHash = 0
	for index, word := range f.words {
		f.prefixHash = ExtendHash(f.prefixHash, uint64(index)+1, word)
	}
}
