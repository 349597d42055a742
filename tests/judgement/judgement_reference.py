"""The definitions of the metrics once more, as plain as they can be: every instant of a short run is looked at.

Histories must have small integer times; steps change at integers, so what holds at t holds until t + 1.
"""

from __future__ import annotations

from lab.history import History

Update = tuple[int, int]


def updates(history: History) -> dict[Update, int]:
    """Return {(sequence, token): first accepted at}."""
    accepted = history.accepted
    found: dict[Update, int] = {}
    for sequence, token, at in zip(accepted.sequence, accepted.token, accepted.time_ns, strict=True):
        if at <= history.horizon_ns:
            found.setdefault((int(sequence), int(token)), int(at))
    return found


def happenings(history: History, replica: int) -> list[tuple[int, int, int, Update, int]]:
    """Return (time, 0 apply | 1 loss, row, update, superseded) of a replica in order; a loss comes after applies of
    its instant.
    """
    applies = history.applies
    found = [
        (
            int(applies.time_ns[row]),
            0,
            row,
            (int(applies.sequence[row]), int(applies.token[row])),
            int(applies.superseded[row]),
        )
        for row in range(len(applies))
        if applies.replica[row] == replica
    ]
    found += [(at, 1, 0, (0, 0), 0) for who, at in history.losses if who == replica]
    return sorted(row for row in found if row[0] <= history.horizon_ns)


def held(history: History, replica: int, at_ns: int) -> set[Update]:
    """Return the updates a replica has just after `at_ns`."""
    state: set[Update] = set()
    for time_ns, what, _, update, _ in happenings(history, replica):
        if time_ns > at_ns:
            break
        state = set() if what else state | {update}
    return state


def read_state(history: History, replica: int, at_ns: int) -> dict[int, Update]:
    state: dict[int, Update] = {}
    for time_ns, what, _, update, superseded in happenings(history, replica):
        if time_ns > at_ns:
            break
        if what:
            state = {}
        elif not superseded:
            state[int(history.operations.key[update[1]])] = update
    return state


def truth(history: History, at_ns: int) -> dict[int, Update]:
    state: dict[int, Update] = {}
    accepted = history.accepted
    for sequence, token, time_ns in zip(accepted.sequence, accepted.token, accepted.time_ns, strict=True):
        key = int(history.operations.key[token])
        if time_ns <= at_ns and sequence >= state.get(key, (0, 0))[0]:
            state[key] = (int(sequence), int(token))
    return state


def divergence(history: History, at_ns: int) -> float:
    right = truth(history, at_ns)
    wrong = 0
    for replica in range(len(history.replicas)):
        state = read_state(history, replica, at_ns)
        wrong += sum(state.get(key) != right.get(key) for key in range(history.key_count))
    return wrong / (len(history.replicas) * history.key_count)


def staleness(history: History) -> tuple[int, int, bool]:
    """Return (greatest age, greatest number lacking, whether anything is lacking at the end) over followers."""
    known = updates(history)
    age = versions = 0
    endless = False
    for replica in range(1, len(history.replicas)):
        for at_ns in range(history.horizon_ns):
            mine = held(history, replica, at_ns)
            lacking = [update for update, time_ns in known.items() if time_ns <= at_ns and update not in mine]
            versions = max(versions, len(lacking))
            age = max([age, *(at_ns + 1 - known[update] for update in lacking)])
        endless |= not set(known) <= held(history, replica, history.horizon_ns)
    return age, versions, endless


def first_after(history: History, replica: int, update: Update, after_ns: int) -> int | None:
    times = [row[0] for row in happenings(history, replica) if row[1] == 0 and row[3] == update and row[0] > after_ns]
    return min(times, default=None)


def convergence(history: History, index: int) -> tuple[int, bool] | None:
    """Return (value, censored) of one fault."""
    heal_ns = history.faults[index].stop_ns
    known = [update for update, time_ns in updates(history).items() if time_ns <= heal_ns]
    if not known or history.faults[index].start_ns == heal_ns:
        return None
    worst = 0
    for replica in range(len(history.replicas)):
        lost_ns = max([at for who, at in history.losses if who == replica and at <= heal_ns], default=-1)
        for update in known:
            applied_ns = first_after(history, replica, update, lost_ns)
            if applied_ns is None:
                return history.horizon_ns - heal_ns, True
            worst = max(worst, applied_ns - heal_ns)
    return worst, False


def lags(history: History) -> tuple[list[int], list[int]]:
    """Return (lags of pairs that came, lower bounds of the others)."""
    came, bounds = [], []
    for update, accepted_ns in updates(history).items():
        for replica in range(1, len(history.replicas)):
            applied_ns = first_after(history, replica, update, -1)
            if applied_ns is None:
                bounds.append(history.horizon_ns - accepted_ns)
            else:
                came.append(max(0, applied_ns - accepted_ns))
    return sorted(came), bounds


def repeated(history: History) -> tuple[int, int]:
    """Return (duplicate effects, order violations)."""
    duplicates = violations = 0
    for replica in range(len(history.replicas)):
        done: set[int] = set()
        top: dict[int, int] = {}
        for _, what, _, (sequence, token), superseded in happenings(history, replica):
            if what:
                done, top = set(), {}
            elif not superseded:
                key = int(history.operations.key[token])
                duplicates += token in done
                violations += sequence <= top.get(key, 0)
                done.add(token)
                top[key] = max(sequence, top.get(key, 0))
    return duplicates, violations


def lost(history: History) -> int:
    """Return the acknowledged operations that the leader does not have at the end."""
    changelog = {int(s): int(t) for s, t in zip(history.accepted.sequence, history.accepted.token, strict=True)}
    mine = held(history, 0, history.horizon_ns)
    prefix = next((final.prefix for final in history.finals if final.replica == history.replicas[0]), 10**9)
    kept = {token for sequence, token in changelog.items() if (sequence, token) in mine and sequence <= prefix}
    return sum(token not in kept for token in range(len(history.operations)) if history.operations.outcome[token] == 1)
