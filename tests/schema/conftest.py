"""Schema tests start replicas as the conformance tests do."""

from tests.conformance.conftest import binaries, workshop

__all__ = ["binaries", "workshop"]
