package message

// waiting is one copy of a frame between its reading and its release.
type waiting struct {
	dueNS    int64  // on the clock of nowNS
	sequence uint64 // arrival on this connection: the order of copies that are due at the same instant
	row      int    // the row in force when the frame was read
	corrupt  bool   // the frame is garbage by now
	frame    []byte // header included; the two copies of a duplicated frame share it
}

func (w *waiting) before(other *waiting) bool {
	if w.dueNS != other.dueNS {
		return w.dueNS < other.dueNS
	}
	return w.sequence < other.sequence
}

// queue is a binary heap in the order of release. It is written out because container/heap would allocate for each push.
type queue struct {
	heap  []waiting
	bytes int
}

func (q *queue) push(entry waiting) {
	q.bytes += len(entry.frame)
	q.heap = append(q.heap, entry)
	child := len(q.heap) - 1
	for child > 0 {
		parent := (child - 1) / 2
		if !q.heap[child].before(&q.heap[parent]) {
			return
		}
		q.heap[child], q.heap[parent] = q.heap[parent], q.heap[child]
		child = parent
	}
}

func (q *queue) pop() waiting {
	top := q.heap[0]
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap[last] = waiting{} // lets the frame be collected
	q.heap = q.heap[:last]
	q.bytes -= len(top.frame)
	q.sink()
	return top
}

// sink moves the root down to its place.
func (q *queue) sink() {
	parent := 0
	for {
		child := 2*parent + 1
		if child >= len(q.heap) {
			return
		}
		if child+1 < len(q.heap) && q.heap[child+1].before(&q.heap[child]) {
			child++
		}
		if !q.heap[child].before(&q.heap[parent]) {
			return
		}
		q.heap[child], q.heap[parent] = q.heap[parent], q.heap[child]
		parent = child
	}
}
