"""Protocols, one a file, listed here and nowhere else."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from lab.protocols import changelog
from lab.protocols.changelog import Changelog

PROTOCOLS: dict[str, tuple[Any, ModuleType]] = {"changelog": (Changelog, changelog)}
