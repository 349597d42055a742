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


def replica_settings(
    experiment: Experiment,
    name: str,
    *,
    run_id: str,
    seed: int,
    peers: Mapping[str, str],
    data_dir: str = DATA_DIR,
) -> dict[str, Any]:
    """Return the settings of replica `name`; `peers` maps the names it sends to onto their proxies' `address:port`."""
    policy, retry, names = experiment.policy, experiment.policy.retry, experiment.system.names
    return {
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
