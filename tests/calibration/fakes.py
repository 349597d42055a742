"""A stack without Docker: a simulator whose links really take something, which a calibration has to find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lab.calibration.calibrate import Probed
from lab.calibration.legs import Times
from lab.core.laws import Law, parse_law
from lab.history import ACKNOWLEDGED, History
from lab.run import simulate
from lab.spec.schema import Experiment

TRUTH = {"request": "500us", "forward": "uniform(low=1ms, high=2ms)", "back": "300us"}


def on_links(experiment: Experiment, laws: Mapping[str, str]) -> Experiment:
    """Return the experiment on links that take what `laws` (by leg) say."""
    leader, *followers = experiment.system.names
    base: dict[str, Law] = {f"client->{leader}": parse_law(laws["request"])}
    for follower in followers:
        base |= {f"{leader}->{follower}": parse_law(laws["forward"]), f"{follower}->{leader}": parse_law(laws["back"])}
    network = experiment.network.model_copy(update={"base": base})
    return experiment.model_copy(update={"network": network})


def times_of(history: History) -> Times:
    operations, accepted, applies = history.operations, history.accepted, history.applies
    done = [token for token in range(len(operations)) if operations.outcome[token] == ACKNOWLEDGED]
    acknowledged = {token: int(operations.acknowledged_ns[token]) for token in done}
    applied: dict[str, dict[int, int]] = {name: {} for name in history.replicas[1:]}
    for replica, token, at_ns in zip(applies.replica, applies.token, applies.time_ns, strict=True):
        if replica:
            applied[history.replicas[int(replica)]].setdefault(int(token), int(at_ns))
    return Times(
        intended=dict(enumerate(operations.intended_ns.tolist())),
        accepted=dict(zip(accepted.token.tolist(), accepted.time_ns.tolist(), strict=True)),
        released=acknowledged,
        acknowledged=acknowledged,
        applied=applied,
    )


@dataclass
class FakeStack:
    """Runs on links that take TRUTH; the runs of the table on links that take `shifted` in its place."""

    shifted: Mapping[str, str] = field(default_factory=lambda: TRUTH)
    broken: Sequence[int] = ()  # numbers of the runs whose apparatus fails
    count: int = 0
    failed: list[str] = field(default_factory=list)

    def probe(self, experiment: Experiment, seed: int) -> Probed:
        history = self._mark(simulate(on_links(experiment, TRUTH), seed))
        return Probed(history, times_of(history), {"f1": 4e5})

    def run(self, experiment: Experiment, seed: int) -> History:
        return self._mark(simulate(on_links(experiment, self.shifted), seed))

    def _mark(self, history: History) -> History:
        self.count += 1
        broken = "the proxy died" if self.count - 1 in self.broken else ""
        return replace(history, invalid=broken, environment={"engine": "20.10", "image.go": "sha256:1"})
