"""The scrape configuration, the alert rules and the dashboard speak of metrics that running replicas have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lab.alarms import ALARMS
from tests.conformance.benches import Workshop
from tests.conformance.replicas import Replica
from tests.conformance.test_acceptance import write

pytestmark = pytest.mark.replicas
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "compose" / "observability"
METRIC = re.compile(r"\bdriftlab_[a-z_]+")
LABELS = re.compile(r"\b(driftlab_[a-z_]+)\{([^}]*)\}")
# Labels that a scrape adds, not the replica.
FROM_SCRAPE = {"replica", "instance", "job"}


def alerts() -> list[dict[str, Any]]:
    document = YAML(typ="safe", pure=True).load((FOLDER / "alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "grafana-dashboard.json").read_text())["panels"]
    return found


def expressions() -> dict[str, str]:
    """Return every expression by where it stands."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in alerts()}
    for panel in panels():
        found |= {f"panel {panel['title']}, {target['refId']}": target["expr"] for target in panel["targets"]}
    return found


def exposed(replica: Replica) -> tuple[set[str], dict[str, set[str]]]:
    """Return the names in a replica's `/metrics`, and each one's labels."""
    status, text = replica.request("GET", "/metrics")
    assert status == 200
    names = set(re.findall(r"^(driftlab_[a-z_]+)", text, re.MULTILINE))
    labels: dict[str, set[str]] = {}
    for name, inside in LABELS.findall(text):
        labels.setdefault(name, set()).update(re.findall(r"([a-z]+)=", inside))
    return names, labels


def replica_metrics() -> set[str]:
    """Return the metrics of replicas that the files name; the reconciler's have a prefix of their own."""
    named = {name for text in expressions().values() for name in METRIC.findall(text)}
    return {name for name in named if not name.startswith("driftlab_reconciler_")}


@pytest.mark.parametrize("pair", [("go", "rust"), ("rust", "go")], ids="-".join)
def test_every_metric_of_alerts_and_dashboard_is_exposed(pair: tuple[str, str], workshop: Workshop) -> None:
    leader, follower = workshop.group(*pair, mode="sync")
    write(leader.client(), 20)
    follower.until(lambda state: state["prefix"] == 20)
    names, labels = exposed(leader)
    more, also = exposed(follower)
    known = names | more
    assert replica_metrics() - known == set()
    assert replica_metrics() & known  # the comparison compared something
    for where, text in expressions().items():
        for grouped in re.findall(r"by \(([^)]*)\)", text):
            for label in {part.strip() for part in grouped.split(",")} - FROM_SCRAPE:
                carrying = {name for found in (labels, also) for name, some in found.items() if label in some}
                named = set(METRIC.findall(text))
                assert named & carrying or named <= {n for n in named if n.startswith("driftlab_reconciler_")}, (
                    f"{where} groups by {label}, which none of {sorted(named)} has"
                )


def test_a_metric_that_is_not_there_is_noticed(workshop: Workshop) -> None:
    """The control of the test above."""
    leader, _ = workshop.group("go", "rust")
    names, _ = exposed(leader)
    assert "driftlab_commits_total" in names
    assert "driftlab_commit_total" not in names


def test_every_alarm_has_an_alert_and_every_alert_a_runbook() -> None:
    by_name = {rule["alert"]: rule for rule in alerts()}
    assert set(ALARMS) <= set(by_name)
    for rule in by_name.values():
        page = ROOT / rule["annotations"]["runbook"]
        assert page.is_file(), page
    for name, alarm in ALARMS.items():
        assert by_name[name]["annotations"]["runbook"] == f"docs/runbooks/{alarm.runbook}"


def test_the_scrape_reaches_the_control_port_of_every_replica_of_the_stack() -> None:
    yaml = YAML(typ="safe", pure=True)
    scrape = yaml.load((FOLDER / "prometheus.yml").read_text())
    stack = yaml.load((ROOT / "compose" / "compose.yaml").read_text())
    replicas = {name for name in stack["services"] if name != "toxiproxy"}
    targets = {target for job in scrape["scrape_configs"] for one in job["static_configs"] for target in one["targets"]}
    hosts = {target.split(":")[0] for target in targets if target.endswith(":8080")}
    assert replicas - {"reconciler"} <= hosts
    assert scrape["rule_files"] == ["alerts.yml"]


def test_runbooks_name_metrics_that_exist(workshop: Workshop) -> None:
    leader, follower = workshop.group("rust", "go")
    known = exposed(leader)[0] | exposed(follower)[0]
    histograms = {name.removesuffix("_bucket") for name in known if name.endswith("_bucket")}
    for page in sorted((ROOT / "docs" / "runbooks").glob("*.md")):
        for name in METRIC.findall(page.read_text()):
            if not name.startswith("driftlab_reconciler_"):
                assert name in known | histograms, f"{page.name}: {name}"
