"""The measures of one run, from what was observed in it: the definitions of `lab.metrics`, without an object per run.

For runs in which no replica lost its whole state (of the others, MEASURED stays 0 and a history is needed): then each
sequence has one update, and first applies are final. Rows of observations are in order of time.
"""

from __future__ import annotations

from lab.engines.compiled.kernel.marks import Words, as_words, called, entry, slice_at
from lab.engines.compiled.kernel.memory import *
from lab.protocols.form import ACCEPTED, ACKNOWLEDGED, APPLIED, REJECTED, SUPERSEDED, WIPED

NEVER_YET = 1 << 62

# Columns of a result; a value of -1 is not defined. C_ columns say whether the value before them is censored.
MEASURED = 0
ACCEPTED_COUNT = 1
ACKNOWLEDGED_COUNT = 2
IN_TIME_COUNT = 3
REJECTED_COUNT = 4
LOST_COUNT = 5
DUPLICATE_COUNT = 6
VIOLATION_COUNT = 7
UNEQUAL_COUNT = 8
CONVERGENCE_FINAL = 9
STALENESS = 11
STALENESS_VERSIONS = 13
VISIBILITY_P50 = 14
VISIBILITY_P99 = 16
LATENCY_P50 = 18
LATENCY_P99 = 20
DIVERGED_PAIRS = 22
DIVERGED_AREA = 23
DIVERGED_AT_END = 24
FAULTS_FROM = 25  # two columns a fault: convergence, whether it is censored

# Regions of the work space, as offsets kept in its first words.
W_ACCEPTED = 0
W_TOKEN = 1
W_FIRST = 2
W_EFFECT = 3
W_TRUTH = 4
W_STATE = 5
W_HIGHEST = 6
W_VALUES = 7
W_ANSWERED = 8
W_OUTCOME = 9
W_LACKING = 10
W_SIZE = 11  # how many words there are, set by the caller
W_VALUE = 12  # what put_convergence writes: value, whether it is censored
W_BEGIN = 14


@called
def lay_out_work(words: Words, nodes: int, operations: int, keys: int) -> int:
    """Write where the regions begin; return the words of work space that a run of this size takes."""
    at = W_BEGIN
    words[W_ACCEPTED] = at
    at += operations + 2
    words[W_TOKEN] = at
    at += operations + 2
    words[W_FIRST] = at
    at += nodes * (operations + 2)
    words[W_EFFECT] = at
    at += nodes * (operations + 2)
    words[W_TRUTH] = at
    at += keys
    words[W_STATE] = at
    at += nodes * keys
    words[W_HIGHEST] = at
    at += nodes * keys
    words[W_LACKING] = at
    at += nodes
    words[W_ANSWERED] = at
    at += operations
    words[W_OUTCOME] = at
    at += operations
    words[W_VALUES] = at
    return at + nodes * (operations + 2)


@called
def smallest(words: Words, low: int, count: int, rank: int) -> int:
    """Return the value of that rank (from 1) among `count` words from `low` on; they are moved about."""
    high = low + count - 1
    wanted = low + rank - 1
    while low < high:
        pivot = words[(low + high) >> 1]
        left = low
        right = high
        while left <= right:
            while words[left] < pivot:
                left += 1
            while words[right] > pivot:
                right -= 1
            if left <= right:
                words[left], words[right] = words[right], words[left]
                left += 1
                right -= 1
        if wanted <= right:
            high = right
        elif wanted >= left:
            low = left
        else:
            return words[wanted]
    return words[wanted]


@called
def put_quantile(words: Words, known: int, bounds: int, percent: int, result: Words) -> None:
    """Write a quantile of `known` values, behind which stand `bounds` that values which never came exceed."""
    count = known + bounds
    result[0] = -1
    result[1] = 0
    if count == 0:
        return
    rank = min(count, max(1, (percent * count + 99) // 100))
    if rank <= known:
        result[0] = smallest(words, words[W_VALUES], known, rank)
    else:
        result[0] = smallest(words, words[W_VALUES], count, rank)
        result[1] = 1


@called
def differing(words: Words, key: int, keys: int, nodes: int) -> int:
    """Return how many replicas have another state of a key than the truth."""
    count = 0
    for node in range(nodes):
        if words[words[W_STATE] + node * keys + key] != words[words[W_TRUTH] + key]:
            count += 1
    return count


@called
def take_apply(M: Words, words: Words, row: int, result: Words) -> int:
    """Take an apply into the tables; return 0 if it is of nothing that was accepted."""
    operations, keys = M[OPERATIONS], M[KEYS]
    node, is_effect = M[row + 1] >> 8, (M[row + 1] & 255) == APPLIED
    sequence, token = M[row + 2], M[row + 3]
    if sequence < 1 or sequence > result[ACCEPTED_COUNT] or words[words[W_TOKEN] + sequence] != token:
        return 0
    first = words[W_FIRST] + node * (operations + 2) + sequence
    if words[first] == NEVER_YET:
        words[first] = M[row]
        words[words[W_LACKING] + node] -= 1
    if is_effect:
        effect = words[W_EFFECT] + node * (operations + 2) + token
        result[DUPLICATE_COUNT] += words[effect]
        words[effect] = 1
        place = node * keys + M[M[OPERATIONS_AT] + 2 * token + 1]
        if sequence <= words[words[W_HIGHEST] + place]:
            result[VIOLATION_COUNT] += 1
        words[words[W_HIGHEST] + place] = max(sequence, words[words[W_HIGHEST] + place])
        words[words[W_STATE] + place] = sequence
    return 1


@called
def take_accepted(M: Words, words: Words, row: int, result: Words) -> int:
    """Take an accepted update into the tables; return 0 if its sequence is not the next one."""
    sequence, token = M[row + 2], M[row + 3]
    if sequence != result[ACCEPTED_COUNT] + 1 or sequence > M[OPERATIONS]:
        return 0
    result[ACCEPTED_COUNT] = sequence
    words[words[W_ACCEPTED] + sequence] = M[row]
    words[words[W_TOKEN] + sequence] = token
    words[words[W_TRUTH] + M[M[OPERATIONS_AT] + 2 * token + 1]] = sequence
    for node in range(M[REPLICAS]):
        words[words[W_LACKING] + node] += 1
    return 1


@called
def sweep_rows(M: Words, words: Words, result: Words) -> int:
    """Go through the observations in time; return 0 for a run that needs a history."""
    keys, replicas = M[KEYS], M[REPLICAS]
    pairs = 0
    for number in range(M[SEEN]):
        row = M[SEEN_AT] + number * SEEN_WORDS
        what = M[row + 1] & 255
        if what == ACCEPTED or what == APPLIED or what == SUPERSEDED:
            if M[row + 3] < 0 or M[row + 3] >= M[OPERATIONS]:
                return 0
            key = M[M[OPERATIONS_AT] + 2 * M[row + 3] + 1]
            before = differing(words, key, keys, replicas) if what == ACCEPTED else 0
            place = (M[row + 1] >> 8) * keys + key
            if what != ACCEPTED:
                before = words[words[W_STATE] + place] != words[words[W_TRUTH] + key]
                if take_apply(M, words, row, result) == 0:
                    return 0
                pairs += (words[words[W_STATE] + place] != words[words[W_TRUTH] + key]) - before
            else:
                if take_accepted(M, words, row, result) == 0:
                    return 0
                pairs += differing(words, key, keys, replicas) - before
        elif what == ACKNOWLEDGED or what == REJECTED:
            words[words[W_OUTCOME] + M[row + 2]] = 1 if what == ACKNOWLEDGED else 2
            words[words[W_ANSWERED] + M[row + 2]] = M[row]
        elif what == WIPED:
            return 0
        following = M[HORIZON]
        if number + 1 < M[SEEN]:
            following = M[row + SEEN_WORDS]
        if following > M[row]:
            result[DIVERGED_AREA] += pairs * (following - M[row])
            result[DIVERGED_PAIRS] = max(result[DIVERGED_PAIRS], pairs)
            for node in range(1, replicas):
                result[STALENESS_VERSIONS] = max(result[STALENESS_VERSIONS], words[words[W_LACKING] + node])
    result[DIVERGED_AT_END] = pairs
    return 1


@called
def put_visibility(M: Words, words: Words, result: Words) -> None:
    """Write visibility lags and staleness over all (update, follower) pairs."""
    known = 0
    bounds = 0
    updates = result[ACCEPTED_COUNT]
    values = words[W_VALUES]
    end = values + updates * (M[REPLICAS] - 1)
    for node in range(1, M[REPLICAS]):
        for sequence in range(1, updates + 1):
            accepted = words[words[W_ACCEPTED] + sequence]
            first = words[words[W_FIRST] + node * (M[OPERATIONS] + 2) + sequence]
            lag = min(first, M[HORIZON]) - accepted
            result[STALENESS] = max(result[STALENESS], lag)
            if first == NEVER_YET:
                bounds += 1
                words[end - bounds] = lag
                result[STALENESS + 1] = 1
            else:
                words[values + known] = max(lag, 0)
                known += 1
    put_quantile(words, known, bounds, 50, slice_at(result, VISIBILITY_P50))
    # Selection moves words, never across the known ones and the bounds unless the quantile lies among the latter; then
    # the 99th percentile does so too.
    put_quantile(words, known, bounds, 99, slice_at(result, VISIBILITY_P99))
    if updates == 0 or M[REPLICAS] < 2:
        result[STALENESS] = -1
        result[STALENESS_VERSIONS] = -1


@called
def put_clients(M: Words, words: Words, deadline: int, result: Words) -> None:
    """Write what clients saw: outcomes, latencies, and acknowledged operations that the leader does not hold."""
    operations = M[OPERATIONS]
    for sequence in range(1, result[ACCEPTED_COUNT] + 1):
        if words[words[W_FIRST] + sequence] != NEVER_YET:  # the leader is node 0
            words[words[W_OUTCOME] + words[words[W_TOKEN] + sequence]] += 4
    known = 0
    bounds = 0
    for token in range(operations):
        outcome = words[words[W_OUTCOME] + token] & 3
        intended = M[M[OPERATIONS_AT] + 2 * token]
        if outcome == 1:
            waited = words[words[W_ANSWERED] + token] - intended
            words[words[W_VALUES] + known] = waited
            known += 1
            result[IN_TIME_COUNT] += waited <= deadline
            result[LOST_COUNT] += words[words[W_OUTCOME] + token] < 4
        else:
            bounds += 1
            words[words[W_VALUES] + operations - bounds] = min(max(M[HORIZON] - intended, 0), deadline)
            result[REJECTED_COUNT] += outcome == 2
    result[ACKNOWLEDGED_COUNT] = known
    put_quantile(words, known, bounds, 50, slice_at(result, LATENCY_P50))
    put_quantile(words, known, bounds, 99, slice_at(result, LATENCY_P99))


@called
def put_convergence(M: Words, words: Words, heal: int, result: Words) -> None:
    """Write the time from `heal` until every replica has all that was accepted by then."""
    latest = -1
    for node in range(M[REPLICAS]):
        for sequence in range(1, result[ACCEPTED_COUNT] + 1):
            if words[words[W_ACCEPTED] + sequence] > heal:
                break
            latest = max(latest, words[words[W_FIRST] + node * (M[OPERATIONS] + 2) + sequence])
    words[W_VALUE] = max(0, latest - heal)
    words[W_VALUE + 1] = 0
    if latest == -1:
        words[W_VALUE] = -1
    elif latest == NEVER_YET:
        words[W_VALUE] = max(0, M[HORIZON] - heal)
        words[W_VALUE + 1] = 1


@entry
def measure_run(block: int, work: int, heals: int, heal_count: int, deadline: int, columns: int, results: int) -> int:
    """Write the measures of the run that is in the block; return the work space that it needs if there is less.

    `heals` are the times at which faults ended, -1 for those that do not end. `work[W_SIZE]` is its size.
    """
    M, words, result = as_words(block), as_words(work), as_words(results)
    needed = lay_out_work(words, M[REPLICAS], M[OPERATIONS], M[KEYS])
    if needed > words[W_SIZE]:
        return needed
    for place in range(W_BEGIN, words[W_VALUES]):
        words[place] = 0
    for place in range(words[W_FIRST], words[W_EFFECT]):
        words[place] = NEVER_YET
    for column in range(columns):
        result[column] = 0
    result[MEASURED] = sweep_rows(M, words, result)
    if result[MEASURED]:
        put_visibility(M, words, result)
        put_clients(M, words, deadline, result)
        for key in range(M[KEYS]):
            for node in range(M[REPLICAS]):
                if words[words[W_STATE] + node * M[KEYS] + key] != words[words[W_TRUTH] + key]:
                    words[words[W_LACKING] + node] = -1
        for node in range(M[REPLICAS]):
            result[UNEQUAL_COUNT] += words[words[W_LACKING] + node] == -1
        quiet = words[words[W_ACCEPTED] + result[ACCEPTED_COUNT]]
        for fault in range(heal_count):
            heal = as_words(heals)[fault]
            quiet = max(quiet, heal)
            words[W_VALUE] = -1
            words[W_VALUE + 1] = 0
            if heal >= 0:
                put_convergence(M, words, heal, result)
            result[FAULTS_FROM + 2 * fault] = words[W_VALUE]
            result[FAULTS_FROM + 2 * fault + 1] = words[W_VALUE + 1]
        put_convergence(M, words, quiet, result)
        result[CONVERGENCE_FINAL] = words[W_VALUE]
        result[CONVERGENCE_FINAL + 1] = words[W_VALUE + 1]
        if result[UNEQUAL_COUNT] and words[W_VALUE] >= 0:
            result[CONVERGENCE_FINAL] = max(0, M[HORIZON] - quiet)
            result[CONVERGENCE_FINAL + 1] = 1
    return 0
