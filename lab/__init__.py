"""driftlab: a chaos and network-fault lab for replicated services."""

__version__ = "0.1.0"
