"""What links remember: chains of loss, correlation, queues, holds, rules - against exact values and netem's figures."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lab.core import draws, fate, stateful
from lab.core.laws import parse_law
from lab.model.effects import CorrelatedLoss, LinkEffect, LossChain
from lab.model.extras import NOTHING, NotComposable, Span
from lab.model.link import plan_alike
from lab.model.transport import Stream

MS = 1_000_000
KINDS = {1: "note", 2: "answer"}


def extra_of(*effects: LinkEffect, stream: Stream | None = None, spans: tuple[Span, ...] = ()) -> tuple[int, ...]:
    return plan_alike(2, effects, KINDS, stream, spans).extras[0][0]


def losses(effect: LinkEffect, count: int) -> list[int]:
    extra, memory = extra_of(effect), [0] * 4
    return [stateful.chain_takes(extra, memory, draws.chain(7, number)) for number in range(count)]


def share_and_run(taken: list[int]) -> tuple[float, float]:
    """Return the share lost and the mean length of a run of losses."""
    runs = sum(now and not before for before, now in zip([0, *taken], taken, strict=False))
    return sum(taken) / len(taken), sum(taken) / max(runs, 1)


# Configured share and correlation in %, delivered share in %, mean run (measured with the kernel's generator).
NETEM = [(20, 25, 10.2, 1.28), (30, 25, 23.4, 1.50), (50, 25, 50.0, 2.29), (20, 50, 2.9, 1.31), (40, 75, 18.9, 2.33)]


@pytest.mark.parametrize(("share", "correlation", "delivered", "run"), NETEM)
def test_correlation_as_written_delivers_what_netem_delivers(
    share: int, correlation: int, delivered: float, run: float
) -> None:
    taken = losses(LinkEffect(correlated=CorrelatedLoss(share * 10_000, correlation * 10_000)), 60_000)
    found_share, found_run = share_and_run(taken)
    assert abs(100 * found_share - delivered) < 1.2
    assert abs(found_run - run) < 0.1


def test_correlation_as_delivered_delivers_its_share_and_its_correlation() -> None:
    from lab.faults.loss_correlated import LossCorrelated

    fault = LossCorrelated.model_validate({"at": "0s", "for": "1s", "share": "20%", "correlation": "75%"})
    effect = fault.link_effect("a", "b")
    assert effect is not None
    taken = losses(effect, 60_000)
    share, run = share_and_run(taken)
    assert abs(share - 0.2) < 0.02
    assert abs(run - 1 / (0.8 * 0.25)) < 0.35  # a run ends with chance (1 - share)(1 - correlation)
    pairs = sum(before and now for before, now in pairwise(taken)) / (len(taken) - 1)
    assert abs((pairs - share**2) / (share * (1 - share)) - 0.75) < 0.03


def test_the_chain_moves_first_and_the_old_state_decides() -> None:
    """p = 1 and r = 1: good, bad, good, bad …; the first message meets the good state it began in."""
    assert losses(LinkEffect(chain=LossChain(1_000_000, 1_000_000)), 6) == [0, 1, 0, 1, 0, 1]
    assert losses(LinkEffect(chain=LossChain(1_000_000, 0)), 4) == [0, 1, 1, 1]
    assert losses(LinkEffect(chain=LossChain(0, 0, good_ppm=1_000_000)), 3) == [1, 1, 1]
    share, run = share_and_run(losses(LinkEffect(chain=LossChain(50_000, 200_000)), 60_000))
    assert abs(share - 0.2) < 0.02 and abs(run - 5) < 0.4  # p / (p + r), 1 / r


def test_a_queue_sends_in_order_and_drops_the_tail() -> None:
    extra, memory = extra_of(LinkEffect(bytes_per_s=100_000, queue_bytes=250)), [0]
    sent = [stateful.departure_ns(extra, memory, 0, 100) for _ in range(5)]  # 1 ms each; over 250 bytes wait after four
    assert sent == [1 * MS, 2 * MS, 3 * MS, stateful.OVERFLOWED, stateful.OVERFLOWED]
    assert stateful.departure_ns(extra, memory, 1 * MS, 100) == 4 * MS
    assert stateful.departure_ns(extra, memory, 50 * MS, 100) == 51 * MS


def test_holds_end_with_the_last_of_those_that_overlap() -> None:
    spans = (
        Span(10, 20, LinkEffect(hold=True)),
        Span(15, 40, LinkEffect(hold=True)),
        Span(50, 60, LinkEffect(hold=True)),
    )
    plan = plan_alike(2, [], KINDS, None, spans)
    held = {
        start: extra[stateful.HOLD_UNTIL_NS] for start, (extra,) in zip(plan.boundaries_ns, plan.extras, strict=True)
    }
    assert held == {0: 0, 10: 40, 15: 40, 20: 40, 40: 0, 50: 60, 60: 0}


def test_rules_choose_by_kind_and_by_number() -> None:
    spans = (
        Span(0, 100, LinkEffect(loss_ppm=1_000_000, first=2)),
        Span(0, 100, LinkEffect(cut=True, kinds=("answer",))),
    )
    plan = plan_alike(2, [LinkEffect(delay=parse_law("5ms"))], KINDS, None, spans)
    extra, memory = plan.extras[0][0], [0] * plan.memory_words
    rows = [plan.leaves[stateful.leaf_of(extra, memory, kind)][0] for kind in (1, 2, 1, 2)]
    assert [(row[fate.LOSS_PPM], row[fate.CUT]) for row in rows] == [(10**6, 0), (10**6, 1), (0, 0), (0, 1)]
    assert plan.rows[0][0][fate.LOSS_PPM] == plan.rows[0][0][fate.CUT] == 0


def test_what_cannot_be_composed_is_refused() -> None:
    chain = LinkEffect(chain=LossChain(1, 1))
    with pytest.raises(NotComposable):
        plan_alike(2, [chain, chain])
    with pytest.raises(NotComposable):
        plan_alike(2, [LinkEffect(loss_ppm=1, first=number) for number in (1, 2, 3, 4)])


def test_a_dial_waits_doubles_and_takes_its_time() -> None:
    stream = Stream.model_validate({"dial": "5ms", "backoff": "10ms", "backoff_cap": "40ms"})
    extra = extra_of(stream=stream)
    assert stateful.redial_ns(extra, 0, 0) == 15 * MS
    assert stateful.redial_ns(extra, 0, 11 * MS) == 35 * MS
    assert stateful.redial_ns(extra, 0, 100 * MS) == (10 + 20 + 40 + 40 + 5) * MS


def test_links_without_memory_have_none() -> None:
    plan = plan_alike(2, [LinkEffect(delay=parse_law("5ms"), loss_ppm=5, cut=True)])
    assert plan.extras == () and plan.leaves == () and plan.memory_words == 0
    assert extra_of(LinkEffect(corrupt_ppm=7)) != NOTHING
