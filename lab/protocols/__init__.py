"""Protocols, one a file, listed here and nowhere else.

To add one: a file with the protocol's class and its `Settings`, and one line in the table.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from lab.protocols import (
    changelog,
    crdt_counter,
    crdt_merkle,
    crdt_register,
    crdt_set,
    epidemic,
    flood,
    gossip,
    heartbeat,
    mesh,
    phi_accrual,
    quorum,
    raft,
    rpc_settings,
    swim,
)
from lab.protocols.changelog import Changelog
from lab.protocols.crdt_counter import CrdtCounter
from lab.protocols.crdt_merkle import CrdtMerkle
from lab.protocols.crdt_register import CrdtRegister
from lab.protocols.crdt_set import CrdtSet
from lab.protocols.epidemic import Epidemic
from lab.protocols.flood import Flood
from lab.protocols.gossip import Gossip
from lab.protocols.heartbeat import Heartbeat
from lab.protocols.mesh import Mesh
from lab.protocols.phi_accrual import PhiAccrual
from lab.protocols.quorum import Quorum
from lab.protocols.raft import Raft
from lab.protocols.rpc import Rpc
from lab.protocols.settings import ProtocolSettings
from lab.protocols.swim import Swim

PROTOCOLS: dict[str, tuple[Any, ModuleType]] = {
    "changelog": (Changelog, changelog),
    "raft": (Raft, raft),
    "quorum": (Quorum, quorum),
    "gossip": (Gossip, gossip),
    "epidemic": (Epidemic, epidemic),
    "flood": (Flood, flood),
    "heartbeat": (Heartbeat, heartbeat),
    "phi_accrual": (PhiAccrual, phi_accrual),
    "swim": (Swim, swim),
    "crdt_counter": (CrdtCounter, crdt_counter),
    "crdt_register": (CrdtRegister, crdt_register),
    "crdt_set": (CrdtSet, crdt_set),
    "crdt_merkle": (CrdtMerkle, crdt_merkle),
    "rpc": (Rpc, rpc_settings),
    "mesh": (Mesh, mesh),
}


def settings_of(name: str) -> type[ProtocolSettings]:
    """Return the settings class of a protocol in the table."""
    settings: type[ProtocolSettings] = PROTOCOLS[name][1].Settings
    return settings


def name_of(cls: Any) -> str:
    """Return the name in the table of a protocol's class or of one that it is derived from; else the class's own."""
    for name, (known, _) in PROTOCOLS.items():
        if issubclass(cls, known):
            return name
    return str(cls.__name__).lower()
