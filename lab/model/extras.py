"""The second row of links that remember: composed from the same effects, with a place in the run's memory for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lab.core import stateful as s
from lab.model.effects import LinkEffect
from lab.model.transport import Stream

Row = tuple[int, ...]
Extra = tuple[int, ...]
KIND_MAX = 62  # kinds that rules can name: a mask of them is one 64-bit word
ALL_KINDS = -1
_SLOTS = (s.QUEUE_SLOT, s.CHAIN_SLOT, s.CORRELATED_SLOT, s.STREAM_SLOT)


NOTHING: Extra = tuple(-1 if column in _SLOTS else 0 for column in range(s.EXTRA_LENGTH))


class NotComposable(ValueError):
    """Effects that cannot hold on one link at the same time; the text is a sentence."""


@dataclass(frozen=True, slots=True)
class Span:
    """An effect on one link in [start_ns, stop_ns)."""

    start_ns: int
    stop_ns: int
    effect: LinkEffect


class Composer:
    """Composes extras link by link and hands out the memory."""

    def __init__(self, boundaries_ns: Sequence[int], stream: Stream | None, kinds: Mapping[int, str]) -> None:
        self.boundaries_ns = boundaries_ns
        self.stream = stream
        self.number_of = {name: number for number, name in kinds.items()}
        self.leaves: list[tuple[Row, Extra]] = []
        self.memory_words = 0

    def is_needed(self, effects: Iterable[LinkEffect]) -> bool:
        """Return whether any of the effects, or the transport, needs more than rows."""
        return self.stream is not None or any(effect.remembers for effect in effects)

    def link(
        self, base: LinkEffect, spans: Sequence[Span], row_of: Callable[[Sequence[LinkEffect]], Row]
    ) -> list[Extra]:
        """Return one link's extra in every epoch; `row_of` composes the rows of the behaviours that rules choose."""
        return self.link_under([base], spans, row_of)

    def link_under(
        self, bases: Sequence[LinkEffect], spans: Sequence[Span], row_of: Callable[[Sequence[LinkEffect]], Row]
    ) -> list[Extra]:
        """Return `link` of several base effects."""
        whole = [Span(0, 1 << 62, effect) for effect in bases]
        maker = _Link(self, [*whole, *spans])
        return [maker.extra(epoch, row_of) for epoch in range(len(self.boundaries_ns))]

    def take(self, words: int) -> int:
        """Return the first of so many new words of memory."""
        self.memory_words += words
        return self.memory_words - words

    def mask(self, kinds: Sequence[str]) -> int:
        """Return the bit mask of message kinds by name; all kinds if none is named."""
        numbers = [self.number_of[name] for name in kinds]
        if any(number > KIND_MAX for number in numbers):
            raise NotComposable(f"message kinds over {KIND_MAX} cannot be named by rules")
        return sum(1 << number for number in set(numbers)) if kinds else ALL_KINDS


class _Link:
    """The extras of one link; each use of memory has the same words in every epoch."""

    def __init__(self, composer: Composer, spans: Sequence[Span]) -> None:
        self.composer, self.spans = composer, spans
        self.slots: dict[tuple[str, int], int] = {}
        self.known: dict[tuple[int, ...], Extra] = {}
        # Only these effects, and dials on streams, depend on when they hold, beside on whether they do.
        self.looks_ahead = any(span.effect.hold or span.effect.kill or span.effect.cut for span in spans)

    def slot(self, use: str, number: int, words: int = 1) -> int:
        key = (use, number)
        if key not in self.slots:
            self.slots[key] = self.composer.take(words)
        return self.slots[key]

    def extra(self, epoch: int, row_of: Callable[[Sequence[LinkEffect]], Row]) -> Extra:
        start_ns = self.composer.boundaries_ns[epoch]
        active = [n for n, span in enumerate(self.spans) if span.start_ns <= start_ns < span.stop_ns]
        key = (*active, -start_ns if self.looks_ahead else 0)
        if key not in self.known:
            self.known[key] = self._extra(epoch, active, row_of)
        return self.known[key]

    def _extra(self, epoch: int, active: Sequence[int], row_of: Callable[[Sequence[LinkEffect]], Row]) -> Extra:
        always = [n for n in active if not self.spans[n].effect.has_rule]
        rules = [n for n in active if self.spans[n].effect.has_rule]
        if not rules:
            return self.compose(always, epoch)
        if len(rules) > s.RULES_MAX:
            raise NotComposable(f"more than {s.RULES_MAX} faults with kinds or first overlap on one link")
        columns = list(self.compose(always, epoch))
        columns[s.RULES], columns[s.LEAVES] = len(rules), len(self.composer.leaves)
        for place, number in enumerate(rules):
            effect = self.spans[number].effect
            at = s.RULE_0 + s.RULE_WORDS * place
            columns[at] = self.composer.mask(effect.kinds)
            columns[at + 1] = effect.first
            columns[at + 2] = self.slot("rule", number) if effect.first else 0
        for bits in range(1 << len(rules)):
            chosen = [*always, *(number for place, number in enumerate(rules) if bits >> place & 1)]
            row = row_of([self.spans[number].effect for number in sorted(chosen)])
            self.composer.leaves.append((row, self.compose(sorted(chosen), epoch)))
        return tuple(columns)

    def compose(self, chosen: Sequence[int], epoch: int) -> Extra:
        """Return the extra of the chosen spans in an epoch."""
        is_plain = not self.looks_ahead and self.composer.stream is None
        if is_plain and not any(self.spans[number].effect.remembers_itself for number in chosen):
            return NOTHING  # most links of most faults, so it is worth a question of its own
        columns = list(NOTHING)
        effects = [(number, self.spans[number].effect) for number in chosen]
        start_ns = self.composer.boundaries_ns[epoch]
        self._kills(columns, start_ns)
        if any(effect.hold for _, effect in effects):
            free_ns = self._free_ns(start_ns, lambda effect: effect.hold)
            columns[s.HOLD_UNTIL_NS] = max(columns[s.HOLD_UNTIL_NS], free_ns)
        if self.composer.stream is not None:
            columns[s.FREE_AT_NS] = self._free_ns(start_ns, _stops_dials)
        rates = [effect.bytes_per_s for _, effect in effects if effect.bytes_per_s]
        if rates:
            queue = min(effect.queue_bytes for _, effect in effects if effect.bytes_per_s)
            columns[s.BYTES_PER_S] = min(rates)
            columns[s.QUEUE_NS] = queue * 1_000_000_000 // min(rates)
            columns[s.QUEUE_SLOT] = self.slot("queue", 0)
        for _, effect in effects:
            both = columns[s.CORRUPT_PPM] * effect.corrupt_ppm // 1_000_000
            columns[s.CORRUPT_PPM] += effect.corrupt_ppm - both
        self._chains(columns, effects)
        self._stream(columns)
        return tuple(columns)

    def _chains(self, columns: list[int], effects: Sequence[tuple[int, LinkEffect]]) -> None:
        chains = [(number, effect.chain) for number, effect in effects if effect.chain]
        correlated = [(number, effect.correlated) for number, effect in effects if effect.correlated]
        if len(chains) > 1 or len(correlated) > 1:
            raise NotComposable("two losses with a memory of the same sort hold on one link at the same time")
        for number, chain in chains:
            columns[s.CHAIN_SLOT] = self.slot("chain", number)
            columns[s.CHAIN_TO_BAD_PPM], columns[s.CHAIN_TO_GOOD_PPM] = chain.to_bad_ppm, chain.to_good_ppm
            columns[s.CHAIN_BAD_PPM], columns[s.CHAIN_GOOD_PPM] = chain.bad_ppm, chain.good_ppm
            columns[s.CHAIN_START_PPM] = chain.start_ppm
        for number, loss in correlated:
            columns[s.CORRELATED_SLOT] = self.slot("correlated", number)
            columns[s.CORRELATED_PPM], columns[s.CORRELATION_PPM] = loss.share_ppm, loss.correlation_ppm

    def _stream(self, columns: list[int]) -> None:
        stream = self.composer.stream
        if stream is None:
            return
        columns[s.STREAM_SLOT] = self.slot("stream", 0, s.STREAM_WORDS)
        columns[s.RTO_NS], columns[s.RTO_CAP_NS] = stream.rto, stream.rto_cap
        columns[s.RETRANSMISSIONS], columns[s.DIAL_NS] = stream.retransmissions, stream.dial
        columns[s.BACKOFF_NS], columns[s.BACKOFF_CAP_NS] = stream.backoff, stream.backoff_cap

    def _kills(self, columns: list[int], start_ns: int) -> None:
        """Fill in what broken connections mean for messages sent from `start_ns` on."""
        kills = sorted(span.start_ns for span in self.spans if span.effect.kill)
        past = [kill_ns for kill_ns in kills if kill_ns <= start_ns]
        coming = [kill_ns for kill_ns in kills if kill_ns > start_ns]
        columns[s.KILLS] = len(past)
        if coming:
            columns[s.NEXT_KILL_NS] = coming[0]
            columns[s.KILL_EPOCH] = list(self.composer.boundaries_ns).index(coming[0])
        if self.composer.stream is None or not past:
            return
        dial = list(NOTHING)
        self._stream(dial)
        free_ns = self._free_ns(past[-1], _stops_dials)
        up_ns = s.redial_ns(dial, past[-1], free_ns)
        columns[s.HOLD_UNTIL_NS] = up_ns if up_ns > start_ns else 0

    def _free_ns(self, start_ns: int, is_meant: Callable[[LinkEffect], bool]) -> int:
        """Return the first time from `start_ns` on at which no span that is meant holds (rules aside)."""
        free_ns = start_ns
        spans = sorted((span.start_ns, span.stop_ns) for span in self.spans if is_meant(span.effect))
        for begin_ns, end_ns in spans:
            if begin_ns <= free_ns < end_ns:
                free_ns = end_ns
        return free_ns


def _stops_dials(effect: LinkEffect) -> bool:
    return (effect.kill or effect.cut or effect.hold) and not effect.has_rule
