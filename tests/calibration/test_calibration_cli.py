"""What the verbs refuse before anything runs, and what the page and the screen say of a confirmation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner

from lab.cli import cli
from lab.reports.terminal import summary_lines
from lab.reports.views import recommendation
from lab.tuning.contain import contain
from tests.lab.conftest import SMALL, write
from tests.tuning.test_contain import Real
from tests.tuning.test_tuning import experiment, recommend

TUNE = {"parameters": {"policy.timeout": "50ms..500ms log"}, "minimise": ["convergence.mean"]}


def test_confirmation_needs_a_search(tmp_path: Path) -> None:
    file = write(tmp_path / "small.yaml")
    done = CliRunner().invoke(cli, ["run", str(file), "--confirm", "containers"])
    assert done.exit_code == 2 and "add --tune" in done.output


def test_what_containers_cannot_run_is_refused_before_the_search(tmp_path: Path) -> None:
    stream = SMALL["network"] | {"transport": "stream"}
    file = write(tmp_path / "small.yaml", tune=TUNE, network=stream)
    arguments = ["tune", str(file), "--confirm", "containers", "--results", str(tmp_path / "results"), "--quiet"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2 and "network.transport" in done.output, done.output
    assert not list(tmp_path.rglob("*.parquet"))


def test_page_and_screen_say_what_containers_say() -> None:
    found = recommend(experiment(), "valley")
    for shape, kind in (("as predicted", "holds"), ("flat", "violated"), ("wide", "open")):
        after = contain(found, Real(shape), pairs=20, first_seed=1, progress=lambda *_: None)
        data = after.as_json()
        card = recommendation({"recommendation": data}, {})
        assert card and card["containers"]["kind"] == kind and len(card["containers"]["rows"]) == 2
        assert card["status"] == ("contradicted" if kind == "violated" else "gain")
        lines = [line.plain for line in summary_lines({"variants": {}, "recommendation": data, "claims": []})]
        said = " ".join(" ".join(lines).split())
        assert data["containers"]["sentence"][:60] in said
        assert all(len(line) <= 80 for line in lines)
    plain = replace(found, contained=None).as_json()
    assert "containers" not in plain and recommendation({"recommendation": plain}, {})["containers"] is None  # type: ignore[index]


def test_the_page_holds_the_table() -> None:
    from jinja2 import Environment  # the template alone: the whole page is tested with the reports

    from lab.reports import page

    source = (Path(page.__file__).parent / "templates" / "report.html.j2").read_text()
    Environment(autoescape=True).parse(source)
    assert "Predicted by the simulator, measured on real replicas" in source
