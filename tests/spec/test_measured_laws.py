"""Laws of files: histograms, HdrHistogram's text, Prometheus buckets - what they give, and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.core import quantiles
from lab.core.laws import Law, parse_law
from lab.spec.histograms import read_law
from lab.spec.load import SpecErrors, fingerprint, load_text

CSV = "# from a trace\nupper_ns,count\n1000,0\n2000,30\n4000,10\n"
HDR = """       Value     Percentile TotalCount 1/(1-Percentile)

       1.000 0.000000000000         10           1.00
       2.500 0.500000000000         60           2.00
       9.000 1.000000000000        100
#[Mean    =        2.000, StdDeviation   =        1.000]
"""
TEXT = """# TYPE delay_seconds histogram
delay_seconds_bucket{path="/a",le="0.001"} 10
delay_seconds_bucket{path="/a",le="0.01"} 30
delay_seconds_bucket{path="/a",le="+Inf"} 31
delay_seconds_bucket{path="/b",le="0.001"} 0
delay_seconds_bucket{path="/b",le="0.01"} 9 1700000000
delay_seconds_bucket{path="/b",le="+Inf"} 9
other_bucket{le="1"} 5
"""
JSON = """{"status":"success","data":{"resultType":"vector","result":[
{"metric":{"__name__":"delay_seconds_bucket","le":"0.001"},"value":[1,"10"]},
{"metric":{"__name__":"delay_seconds_bucket","le":"0.01"},"value":[1,"39"]},
{"metric":{"__name__":"delay_seconds_bucket","le":"+Inf"},"value":[1,"40"]}]}}"""


def read(folder: Path, law: str, content: str) -> Law:
    parsed = parse_law(law)
    (folder / parsed.source).write_text(content, encoding="utf-8")
    return parsed.filled({parsed.file_key(): read_law(parsed, folder)})


def at(law: Law, percent: int) -> int:
    """Return a quantile, to the nearest of the even knots."""
    return law.table()[quantiles.INTERVALS * percent // 100]


def test_histograms_are_linear_in_their_bins(tmp_path: Path) -> None:
    law = read(tmp_path, "histogram(a.csv)", CSV)
    assert law.points == ((1000, 0), (2000, 30), (4000, 40))
    assert (law.table()[0], at(law, 75), law.table()[-1]) == (1000, 2000, 4000)
    assert abs(at(law, 25) - 1333) <= 1


def test_hdr_text_has_its_unit(tmp_path: Path) -> None:
    law = read(tmp_path, "hdr(a.hgrm, unit=ms)", HDR)
    assert law.points == ((1_000_000, 10), (2_500_000, 60), (9_000_000, 100))
    assert at(law, 5) == 1_000_000 and law.table()[-1] == 9_000_000
    assert read(tmp_path, "hdr(a.hgrm, unit=us)", HDR).points[0] == (1000, 10)


def test_prometheus_adds_up_series_and_reads_both_forms(tmp_path: Path) -> None:
    expected = ((0, 0), (1_000_000, 10), (10_000_000, 39), (10_000_000, 40))
    assert read(tmp_path, "prometheus(a.txt, metric=delay_seconds)", TEXT).points == expected
    assert read(tmp_path, "prometheus(a.json, metric=delay_seconds)", JSON).points == expected


BAD = [
    ("histogram(a.csv)", "upper,count\n1,2\n", "'a.csv' line 1: the header lacks the columns upper_ns and count"),
    ("histogram(a.csv)", "upper_ns,count\n5,2\n4,2\n", "'a.csv' line 3: 4 ns is below 5 ns before it; sort the rows"),
    ("histogram(a.csv)", "upper_ns,count\n5,2.5\n", "'a.csv' line 2: '2.5' is not a whole number"),
    ("histogram(a.csv)", "upper_ns,count\n5\n", "'a.csv' line 2: the row has 1 cells"),
    ("histogram(a.csv)", "upper_ns,count\n5,0\n", "'a.csv' counts no values"),
    ("histogram(a.csv)", f"upper_ns,count\n{10**15 - 1},1\n", "is over the largest delay"),
    ("hdr(a.hgrm, unit=ms)", "1.0 0.5 7 2.0\n2.0 0.9 3 9.0\n", "'a.hgrm' line 2: the total count 3 is below 7"),
    ("hdr(a.hgrm, unit=ms)", "1.0,0.5,7\n", "'a.hgrm' line 1: '1.0,0.5,7' is not a line of percentiles"),
    ("prometheus(a.txt, metric=dealy_seconds)", TEXT, "has no buckets of 'dealy_seconds'; it has delay_seconds, other"),
    ("prometheus(a.txt, metric=other)", TEXT, "'other' does not end with its unit; add unit=ms"),
    ("prometheus(a.json, metric=delay_seconds)", '{"data": 1}', "is not the JSON of an instant query"),
    (
        "prometheus(a.txt, metric=x_seconds)",
        'x_seconds_bucket{le="1"} 0.5\n',
        "'0.5' is not a count; query the counters",
    ),
]


@pytest.mark.parametrize(("law", "content", "said"), BAD)
def test_bad_files_are_told_with_their_line(tmp_path: Path, law: str, content: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(tmp_path, law, content)
    assert said in str(caught.value)


FILE = """title: measured
system: {{ replicas: [ {{ name: leader }}, {{ name: f1 }} ] }}
network:
  links:
    default:
      delay: {law}
workload: {{ arrivals: poisson(10/s), duration: 1s }}
"""


def test_the_experiment_file_reads_them_also_inside_mixtures(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    text = FILE.format(law='"mixture(90%: 1ms, 10%: histogram(a.csv))"')
    one = load_text(text, "spec.yaml", tmp_path)
    law = one.network.links["default"].delay
    assert law.text() == "mixture(90%: 1ms, 10%: histogram(a.csv))"
    assert len(law.table()) == quantiles.KNOTS
    (tmp_path / "a.csv").write_text(CSV.replace("30", "31"))
    assert fingerprint(load_text(text, "spec.yaml", tmp_path)) != fingerprint(one)


def test_errors_name_the_place_in_the_experiment_file(tmp_path: Path) -> None:
    with pytest.raises(SpecErrors) as caught:
        load_text(FILE.format(law="histogram(b.csv)"), "spec.yaml", tmp_path)
    said = caught.value.render()
    assert said.startswith("spec.yaml:6:14: network.links.default.delay: 'b.csv' does not exist; the path is relative")
