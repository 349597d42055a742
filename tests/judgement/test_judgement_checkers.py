"""Checkers: each accepts a good run and rejects a bad one; a toy store of known behaviour; what must not change a
verdict.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from judgement_histories import BUGS, Builder, digest, fault, good, store
from test_judgement_metrics import histories

from lab.checkers import CHECKERS, Checker, Validity, check, check_all, checker_names, verdict, worst
from lab.history import REJECTED, UNKNOWN, History
from lab.metrics import METRICS, run_values


def lost(builder: Builder) -> None:
    builder.losses = [(0, 500)]


def duplicate(builder: Builder) -> None:
    builder.apply(1, 2, 1, 600)


def backwards(builder: Builder) -> None:
    builder.intend(500, 1)
    builder.accept(4, 500)
    builder.accept(builder.intend(510, 1), 510)
    builder.apply(1, 6, 5, 600)
    builder.apply(1, 5, 4, 610)


def invented(builder: Builder) -> None:
    builder.apply(1, 9, 0, 600, superseded=1)


def unintended(builder: Builder) -> None:
    builder.accepted.append((5, 77, 500))


def wrong_digest(builder: Builder) -> None:
    builder.digests["f1"] = digest({})


def never_arrives(builder: Builder) -> None:
    builder.write(500, [510, None], key=3)


def memory_lost(builder: Builder) -> None:
    builder.losses = [(2, 350)]


def nothing_accepted(builder: Builder) -> None:
    builder.accepted, builder.applies = [], []


def nothing_acknowledged(builder: Builder) -> None:
    builder.operations = [(at_ns, key, UNKNOWN, -1) for at_ns, key, _, _ in builder.operations]


def unloaded(builder: Builder) -> None:
    builder.faults.append(fault(700, 800))


def silent(builder: Builder) -> None:
    builder.silent = {"f2"}


def no_bite(builder: Builder) -> None:
    builder.faults = [fault(100, 300, bit=0)]


def not_healed(builder: Builder) -> None:
    builder.faults = [fault(100, 300, healed=False)]


def broken(builder: Builder) -> None:
    builder.invalid = "a proxy died"


BAD: list[tuple[str, Callable[[Builder], None], bool | None]] = [
    ("lost_updates", lost, False),
    ("duplicate_effects", duplicate, False),
    ("order", duplicate, False),
    ("order", backwards, False),
    ("invented", invented, False),
    ("invented", unintended, False),
    ("digests", wrong_digest, False),
    ("digests", silent, None),
    ("convergence", never_arrives, False),
    ("convergence", memory_lost, False),
    ("vacuity", nothing_accepted, None),
    ("vacuity", nothing_acknowledged, None),
    ("vacuity", unloaded, None),
    ("vacuity", silent, None),
    ("faults_bit", no_bite, None),
    ("faults_bit", not_healed, None),
    ("invalid", broken, None),
]


@pytest.mark.parametrize("name", checker_names("changelog"))
def test_every_checker_accepts_a_good_run(name: str) -> None:
    found = check(CHECKERS[name], good().build())
    assert found.valid is True and found.reason


def test_every_checker_has_a_bad_run() -> None:
    """Those of other protocols have theirs in tests/experiments/test_judging.py."""
    assert {name for name, _, _ in BAD} == set(checker_names("changelog")) == set(check_all(good().build()))


@pytest.mark.parametrize(("name", "spoil", "expected"), BAD)
def test_every_checker_rejects_a_bad_run(name: str, spoil: Callable[[Builder], None], expected: bool | None) -> None:
    builder = good()
    spoil(builder)
    found = check(CHECKERS[name], builder.build())
    assert found.valid is expected and "failed" not in found.reason
    assert verdict(check_all(builder.build())) != "pass"
    json.dumps(found.witness)
    if expected is False:
        assert found.witness


def test_witnesses_name_the_first_case() -> None:
    builder = good()
    backwards(builder)
    assert check(CHECKERS["order"], builder.build()).witness == {
        "violations": 1,
        "replica": "f1",
        "key": 1,
        "sequences": [6, 5],
        "tokens": [5, 4],
        "times_ns": [600, 610],
    }
    builder = good()
    never_arrives(builder)
    witness = check(CHECKERS["convergence"], builder.build()).witness
    assert witness == {"missing": {"f2": 1}, "replica": "f2", "sequence": 5, "token": 4}
    builder = good()
    lost(builder)
    witness = check(CHECKERS["lost_updates"], builder.build()).witness
    assert witness == {"lost": 4, "acknowledged": 4, "token": 0, "sequence": 1, "acknowledged_ns": 50}


def test_a_crashed_leader_cannot_accept_and_is_still_under_load() -> None:
    builder = good()
    builder.faults = [fault(260, 390, kind="crash")]
    assert check(CHECKERS["vacuity"], builder.build()).valid is None  # nobody tried to write meanwhile
    builder.intend(300, 0, outcome=UNKNOWN)
    assert check(CHECKERS["vacuity"], builder.build()).valid is True
    builder.faults = [fault(260, 500, kind="crash")]
    assert check(CHECKERS["vacuity"], builder.build()).valid is True  # one was accepted meanwhile
    builder.faults = [fault(420, 500, kind="crash")]
    builder.intend(450, 0, outcome=REJECTED)
    assert check(CHECKERS["vacuity"], builder.build()).valid is None  # it never came back
    assert check(CHECKERS["faults_bit"], dataclasses.replace(builder.build(), faults=(fault(1, 1, bit=None),))).valid


def explode(history: History) -> Validity:
    raise MemoryError("too big")


def test_a_checker_that_fails_cannot_tell() -> None:
    failing = {"failing": Checker("failing", "fails", explode)}
    found = check_all(good().build(), failing)["failing"]
    assert found.valid is None and "too big" in found.reason
    broken_table = dataclasses.replace(good().build(), applies=None)
    assert all(
        answer.valid is not True for name, answer in check_all(broken_table).items() if name in ("order", "convergence")
    )


def test_an_invalid_run_is_never_judged() -> None:
    builder = good()
    broken(builder)
    duplicate(builder)
    found = check_all(builder.build())
    assert {answer.valid for answer in found.values()} == {None}
    assert verdict(found) == "inconclusive"


def test_a_violation_outweighs_doubt_and_doubt_outweighs_success() -> None:
    yes, no, unsure = Validity(True, ""), Validity(False, ""), Validity(None, "")
    assert verdict([yes, yes], [True]) == "pass"
    assert verdict([yes], [None]) == "inconclusive"
    assert verdict([unsure, no], [True]) == "fail"
    assert verdict({"a": unsure}, [False]) == "fail"
    assert verdict([]) == "pass"
    assert worst([True, None]) is None and worst([None, False, True]) is False and worst([]) is True


def test_a_correct_store_raises_no_alarm_in_300_runs() -> None:
    for seed in range(300):
        alarms = {name: found.reason for name, found in check_all(store(seed)).items() if found.valid is not True}
        assert alarms == {}, seed


@pytest.mark.parametrize("bug", BUGS)
def test_every_seeded_bug_is_caught(bug: str) -> None:
    caught = 0
    for seed in range(40):
        wrong = {name for name, found in check_all(store(seed, bug)).items() if found.valid is False}
        caught += bool(wrong & BUGS[bug])
        if bug in ("forgets_acknowledged", "never_accepted", "invents", "wrong_state", "skips_last"):
            assert wrong >= BUGS[bug], seed
    assert caught >= 38


@settings(max_examples=300, deadline=None)
@given(histories())
def test_checkers_and_metrics_were_written_apart_and_agree(history: History) -> None:
    found, values = check_all(history), run_values(history)
    assert found["lost_updates"].valid is (values["lost_acknowledged"].value == 0)
    assert found["duplicate_effects"].valid is (values["duplicate_effects"].value == 0)
    assert found["order"].valid is (values["order_violations"].value == 0)
    assert found["digests"].valid is (values["digest_unequal"].value == 0)
    if not found["convergence"].valid:
        assert values["convergence_final"].censored
    elif len(history.accepted) and found["digests"].valid:
        assert not values["convergence_final"].censored


@settings(max_examples=100, deadline=None)
@given(histories())
def test_names_do_not_change_a_verdict(history: History) -> None:
    names = {name: f"other-{name}" for name in history.replicas}
    finals = tuple(dataclasses.replace(final, replica=names[final.replica]) for final in reversed(history.finals))
    renamed = dataclasses.replace(history, replicas=tuple(names.values()), finals=finals)
    before, after = check_all(history), check_all(renamed)
    assert {name: found.valid for name, found in before.items()} == {name: found.valid for name, found in after.items()}


def test_the_final_state_agrees_with_divergence_at_the_horizon() -> None:
    for seed in range(40):
        for bug in ("", "applies_as_it_comes"):
            history = store(seed, bug)
            still = run_values(history)["divergence_area"].censored
            assert still is (check(CHECKERS["digests"], history).valid is False)


def test_every_file_is_in_its_table() -> None:
    import importlib
    import pkgutil

    for package, attribute, table in (("lab.metrics", "METRIC", METRICS), ("lab.checkers", "CHECKER", CHECKERS)):
        path = importlib.import_module(package).__path__
        modules = [importlib.import_module(f"{package}.{found.name}") for found in pkgutil.iter_modules(path)]
        entries = {
            module.__name__.rsplit(".", 1)[1]: getattr(module, attribute)
            for module in modules
            if hasattr(module, attribute)
        }
        assert {name: entry.name for name, entry in entries.items()} == {name: name for name in table}
        assert all(table[name] is entry for name, entry in entries.items())


def test_judging_imports_nothing_heavy_and_checkers_stand_alone() -> None:
    code = "import sys, lab.checkers; print(sorted(m for m in sys.modules if m.startswith('lab.')))"
    alone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "lab.metrics" not in alone and "lab.protocols" not in alone and "lab.engines" not in alone
    code = "import sys; from lab.metrics import *; summarise([RunValue(1), RunValue(2)], 'mean', 'ns');"
    code += " print({'scipy', 'pandas', 'matplotlib', 'numba', 'pydantic'} & set(sys.modules))"
    heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert heavy.strip() == "set()"


def test_boundaries() -> None:
    builder = good()
    builder.faults = [fault(390, 400)]  # half-open: the write at 400 comes after it
    assert check(CHECKERS["vacuity"], builder.build()).valid is None
    builder.faults = [fault(400, 410)]
    assert check(CHECKERS["vacuity"], builder.build()).valid is True
    builder = good()
    builder.apply(1, 5, -1, 600, superseded=1)  # must not be mistaken for the last token of the sequence before
    assert check(CHECKERS["invented"], builder.build()).valid is False
    builder = good()
    builder.losses = [(0, 1000)]
    assert check(CHECKERS["lost_updates"], builder.build()).valid is False
    assert check(CHECKERS["convergence"], builder.build()).valid is False
