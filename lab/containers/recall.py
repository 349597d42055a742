"""What a link's message toxic is told beside its rows where the link remembers: the plan's extras, cut to it. Pure.

Extras, leaves and slots are those of `lab.core.stateful`, numbered anew for the one link. What the plane does by other
means stays out: holds are a toxic of their own, kills close the proxy, and there are no simulated streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lab.core import stateful as s
from lab.model.extras import NOTHING, Extra
from lab.model.link import LinkPlan

Row = tuple[int, ...]
MEMORY_WORDS_MAX = 65_536
LEAVES_MAX = 32_768
LARGEST = 1 << 61  # of a rate or a time: no sum of two leaves 63 bits
_ELSEWHERE = (s.HOLD_UNTIL_NS, s.FREE_AT_NS, s.NEXT_KILL_NS, s.KILL_EPOCH, s.KILLS)
_SLOTS = (s.QUEUE_SLOT, s.CHAIN_SLOT, s.CORRELATED_SLOT)
_PPM = (
    s.CHAIN_TO_BAD_PPM, s.CHAIN_TO_GOOD_PPM, s.CHAIN_BAD_PPM, s.CHAIN_GOOD_PPM, s.CHAIN_START_PPM, s.CORRELATED_PPM,
    s.CORRELATION_PPM, s.CORRUPT_PPM,
)  # fmt: skip
_RATES = (s.BYTES_PER_S, s.QUEUE_NS)


@dataclass(slots=True)
class Recall:
    """One link's extras in the making; equal behaviours and slots have one number each."""

    plan: LinkPlan
    slot_of: dict[int, int] = field(default_factory=dict)
    first_of: dict[tuple[tuple[Row, Extra], ...], int] = field(default_factory=dict)
    leaves: list[tuple[Row, Extra]] = field(default_factory=list)

    def extra(self, extra: Extra) -> Extra:
        """Return an extra of the plan with the link's own numbers."""
        columns = list(self._plain(extra))
        for at in range(s.RULE_0, s.RULE_0 + s.RULE_WORDS * extra[s.RULES], s.RULE_WORDS):
            columns[at : at + 2] = extra[at : at + 2]
            columns[at + 2] = self._slot(extra[at + 2]) if extra[at + 1] else 0
        if extra[s.RULES]:
            first, count = extra[s.LEAVES], 1 << extra[s.RULES]
            chosen = tuple((row, self._plain(leaf)) for row, leaf in self.plan.leaves[first : first + count])
            if chosen not in self.first_of:
                self.first_of[chosen] = len(self.leaves)
                self.leaves += chosen
            columns[s.RULES], columns[s.LEAVES] = extra[s.RULES], self.first_of[chosen]
        return tuple(columns)

    def _plain(self, extra: Extra) -> Extra:
        """Return it without rules and without what the plane does by other means."""
        columns = list(extra[: s.RULES] + NOTHING[s.RULES :])
        for column in _ELSEWHERE:
            columns[column] = 0
        for column in _SLOTS:
            columns[column] = self._slot(extra[column])
        return tuple(columns)

    def _slot(self, slot: int) -> int:
        return self.slot_of.setdefault(slot, len(self.slot_of)) if slot >= 0 else -1


def problems(
    name: str, row_count: int, extras: Sequence[Extra], leaves: Sequence[tuple[Row, Extra]], memory_words: int
) -> list[str]:
    """Return a sentence for each number that the server must not get. Rows of leaves are checked with the others."""
    found = []
    if extras and len(extras) != row_count:
        found.append(f"{name}: {len(extras)} extras for {row_count} rows")
    if not 0 <= memory_words <= MEMORY_WORDS_MAX:
        found.append(f"{name}: {memory_words} words of memory; a link has at most {MEMORY_WORDS_MAX}")
    if len(leaves) > LEAVES_MAX:
        found.append(f"{name}: {len(leaves)} behaviours to choose from; a link has at most {LEAVES_MAX}")
    for number, extra in enumerate([*extras, *(extra for _, extra in leaves)]):
        is_leaf = number >= len(extras)
        if not _fits(extra, memory_words) or not _rules_fit(extra, 0 if is_leaf else len(leaves), memory_words):
            what = f"behaviour {number - len(extras)}" if is_leaf else f"extra {number}"
            found.append(f"{name}: {what} has a number out of range: {extra}")
    return found


def _fits(extra: Extra, memory_words: int) -> bool:
    if len(extra) != s.EXTRA_LENGTH:
        return False
    spans: Mapping[int, tuple[int, int]] = {
        **dict.fromkeys(_PPM, (0, 1000000)),
        **dict.fromkeys(_SLOTS, (-1, memory_words - 1)),
        **dict.fromkeys(_RATES, (0, LARGEST)),
    }
    rest = [column for column in range(s.RULES) if column not in spans]
    inside = all(low <= extra[column] <= high for column, (low, high) in spans.items())
    return inside and all(extra[column] == NOTHING[column] for column in rest) and _has_queue(extra)


def _has_queue(extra: Extra) -> bool:
    return not extra[s.BYTES_PER_S] or extra[s.QUEUE_SLOT] >= 0


def _rules_fit(extra: Extra, leaf_count: int, memory_words: int) -> bool:
    rules, first = extra[s.RULES], extra[s.LEAVES]
    if not rules:
        return extra[s.RULES :] == NOTHING[s.RULES :]
    if not (0 < rules <= s.RULES_MAX and first >= 0 and first + (1 << rules) <= leaf_count):
        return False
    for at in range(s.RULE_0, s.RULE_0 + s.RULE_WORDS * rules, s.RULE_WORDS):
        most, slot = extra[at + 1 : at + 3]
        if most < 0 or slot < 0 or (most and slot >= memory_words):
            return False
    return True
