"""Measure the executors: `python benchmarks/engines.py [--quick] [--json]`. Not a test: see docs/engine.md."""

from __future__ import annotations

import json
import sys

from lab.engines import bench

if __name__ == "__main__":
    measured = bench.document(quick="--quick" in sys.argv)
    print(json.dumps(measured, indent=2) if "--json" in sys.argv else "\n".join(bench.lines(measured)))
