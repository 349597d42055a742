"""How fast are the executors? All is measured interleaved in one process, so that ratios survive a busy machine."""

from __future__ import annotations

from lab.engines.bench.measure import document, lines

__all__ = ["document", "lines"]
