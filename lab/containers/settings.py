"""The settings file of one replica (docs/replica.md, section 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.spec.schema import Experiment

SCHEMA_VERSION = 1
PEER_PORT = 7000
CLIENT_PORT = 7001
CONTROL_PORT = 8080
DATA_DIR = "/data"
SETTINGS_DIR = "/etc/driftlab"
SETTINGS_NAME = "settings.json"
NODES_PER_S = 10_000  # of the Merkle trees that a reconciler reads


def replica_settings(
    experiment: Experiment,
    name: str,
    *,
    run_id: str,
    seed: int,
    peers: Mapping[str, str],
    data_dir: str = DATA_DIR,
    schema_version: int | None = None,
) -> dict[str, Any]:
    """Return the settings of replica `name`; `peers` maps the names it sends to onto their proxies' `address:port`.

    `schema_version` is that of a program which took the replica's place, None: the experiment's.
    """
    policy, retry, names = experiment.policy, experiment.policy.retry, experiment.system.names
    settings: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "run_id": run_id,
        "name": name,
        "index": names.index(name),
        "leader": names[0],
        "replicas": list(names),
        "peers": dict(peers),
        "seed": seed,
        "mode": experiment.system.mode,
        "bound": policy.bound,
        "ordering": policy.ordering,
        "policy": {
            "timeout_ns": policy.timeout,
            "attempts": retry.attempts,
            "backoff": retry.backoff,
            "base_ns": retry.base,
            "cap_ns": retry.cap,
            "jitter": retry.jitter,
            "budget_ppm": -1 if retry.budget is None else retry.budget,
            "breaker_failures": policy.breaker.failures or 0,
            "breaker_open_ns": policy.breaker.open_for,
        },
        "queue": {"limit": policy.queue.limit, "overflow": policy.queue.overflow},
        "reconcile_every_ns": policy.reconcile_every,
        "reconcile_batch": policy.reconcile_batch,
        "data_dir": data_dir,
        "events": True,
        "log_level": "warn",
        "listen": {"peer": f":{PEER_PORT}", "client": f":{CLIENT_PORT}", "control": f":{CONTROL_PORT}"},
    }
    system = experiment.system
    channel = {"memory_bytes": policy.channel.memory, "bandwidth_bytes_per_s": policy.channel.bandwidth}
    version = schema_version or system.replicas[system.names.index(name)].schema_version
    others = {
        "wire": (system.wire, "framed"),
        "pool": (system.pool, 8),
        "channel": (channel, {"memory_bytes": 0, "bandwidth_bytes_per_s": 0}),
        "progress_every_ns": (policy.progress_every, 0),
        "schema_version": (version, 1),
    }
    # Defaults are left out, so that an older replica takes the settings of an experiment that it can run.
    return settings | {key: value for key, (value, default) in others.items() if value != default}


def reconciler_settings(experiment: Experiment, *, run_id: str, control: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of the reconciler (docs/replica.md, section 14); `control` maps each replica to where its
    control port is, `address:port`.
    """
    wanted, leader = experiment.system.reconciler, experiment.system.names[0]
    assert wanted is not None
    return {
        "schema": SCHEMA_VERSION,
        "run_id": run_id,
        "leader": f"http://{control[leader]}",
        "followers": {name: f"http://{where}" for name, where in control.items() if name != leader},
        "every_ns": wanted.every,
        "snapshot_every_ns": wanted.snapshot_every,
        "repairs_per_s": max(1, wanted.rate // 1000),
        "nodes_per_s": NODES_PER_S,
        "data_dir": DATA_DIR,
        "listen": f":{CONTROL_PORT}",
        "log_level": "warn",
    }
