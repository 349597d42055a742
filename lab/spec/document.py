"""An experiment as JSON: everything written out with units, its fingerprint, and the schema for editors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from lab.core.laws import Law
from lab.faults import FAULTS
from lab.model.fault_presets import PRESETS
from lab.spec.schema import SCHEMA_VERSION, Experiment, Tune


def resolved(experiment: Experiment) -> dict[str, Any]:
    """Return the experiment with every default written out; JSON-able, and read back as an equal experiment.

    Links carry all their keys: what they take from `default` is copied into them.
    """
    data = experiment.model_dump(mode="json", by_alias=True)
    links = {}
    for name, link in experiment.network.links.items():
        source, arrow, target = name.partition("->")
        whole = experiment.network.link(source, target) if arrow else link
        links[name] = whole.model_dump(mode="json", by_alias=True)
    data["network"]["links"] = links
    _leave_out_unused(data)
    if data["tune"] is None:
        del data["tune"]
    else:  # searches from before these keys keep their fingerprint
        for name in ("when", "constraints", "scenarios", "robust", "stop", "sobol"):
            if getattr(experiment.tune, name) == Tune.model_fields[name].default:
                del data["tune"][name]
    # Experiments from before there were breakers keep their fingerprint.
    if data["policy"]["breaker"] == type(experiment.policy.breaker)().model_dump(mode="json"):
        del data["policy"]["breaker"]
    for part in ("system", "workload", "policy"):
        data[part] = _read_parts(experiment, part, data[part])
    return {key: value for key, value in data.items() if value != {} or key != "policy"}


def _leave_out_unused(data: dict[str, Any]) -> None:
    """Remove what links and their faults can do but do not; so experiments from before it keep their fingerprint."""
    network = data["network"]
    if network["transport"] == "message":
        del network["stream"]
    for name in ("bursts", "nodes", "base", "preset", "regions"):
        if not network[name]:
            del network[name]
    for link in network["links"].values():
        if link["bandwidth"] == "0B/s":
            del link["bandwidth"], link["queue"]
        for name, nothing in (("corrupt", "0%"), ("loss_bursts", None)):
            if link[name] == nothing:
                del link[name]
    for fault in data["faults"]:
        for kind, parameters in fault.items():
            unused: dict[str, Any] = {"kinds": [], "first": 0}
            if kind in ("partition", "cut"):
                unused = {"by": None, **({"kind": "drop"} if kind == "partition" else {})}
                if kind == "partition":
                    unused |= {"shape": None, "node": None, "order": [], "size": 0}
                    unused |= {"groups": []} if parameters["shape"] else {}
            for name, nothing in unused.items():
                if name in parameters and parameters[name] == nothing:
                    del parameters[name]


def _read_parts(experiment: Experiment, path: str, value: Any) -> Any:
    """Return a part of the experiment without what its protocol does not read."""
    system = experiment.system
    kept = ("system.protocol", "system.replicas", f"system.{system.protocol}", "workload.duration")
    if path in kept or system.settings.accepts(path):
        return value
    if not isinstance(value, dict):
        return None  # not read, and a file that sets it is refused
    parts = {key: _read_parts(experiment, f"{path}.{key}", part) for key, part in value.items()}
    return {key: part for key, part in parts.items() if part not in (None, {})}


def fingerprint(experiment: Experiment) -> str:
    """Return the SHA-256 (hexadecimal) of the resolved experiment and the values of its measured samples.

    Files that differ only in layout, key order or left-out defaults have one fingerprint.
    """
    content = {
        "schema": SCHEMA_VERSION,
        "experiment": resolved(experiment),
        "samples": {law.source: _digest(law.values_ns) for law in _file_laws(experiment) if law.shape == "samples"},
    }
    counted = {law.text(): _digest(law.points) for law in _file_laws(experiment) if law.shape != "samples"}
    if counted:  # experiments without them keep their fingerprint
        content["counted"] = counted
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of experiment files, for completion and checks in editors."""
    schema = Experiment.model_json_schema(by_alias=True)
    kinds = []
    for kind, fault in FAULTS.items():
        own = fault.model_json_schema(by_alias=True)
        schema.setdefault("$defs", {}).update(own.pop("$defs", {}))
        kinds.append(
            {
                "type": "object",
                "description": fault.summary,
                "properties": {kind: own},
                "required": [kind],
                "additionalProperties": False,
            }
        )
    preset = {
        "type": "object",
        "properties": {"name": {"enum": list(PRESETS)}, "at": {"type": "string"}},
        "required": ["name", "at"],
    }
    kinds.append(
        {
            "type": "object",
            "description": "a named fault; keys beside name override its own",
            "properties": {"preset": preset},
            "required": ["preset"],
            "additionalProperties": False,
        }
    )
    schema["properties"]["faults"]["items"] = {"oneOf": kinds}
    scenario = schema["$defs"]["Scenario"]
    scenario["properties"]["faults"] = {"type": ["array", "null"], "items": {"oneOf": kinds}}
    scenario["patternProperties"] = {r"^[a-z]+\.": {"type": ["string", "integer", "null"]}}
    schema["$defs"].pop("Fault", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _file_laws(experiment: Experiment) -> list[Law]:
    scenarios = experiment.tune.scenarios.values() if experiment.tune else ()
    networks = [experiment.network, *(scenario.network for scenario in scenarios if scenario.network is not None)]
    faults = [*experiment.faults, *(fault for scenario in scenarios for fault in scenario.faults or ())]
    laws = [link.delay for network in networks for link in network.links.values()]
    laws += [law for fault in faults if isinstance(law := getattr(fault, "by", None), Law)]
    laws += [law for network in networks for law in network.base.values()]
    laws += [node.service for network in networks for node in network.nodes.values() if node.service is not None]
    return [measured for law in laws for measured in law.files()]


def _digest(values: Sequence[object]) -> str:
    return hashlib.sha256(",".join(map(str, values)).encode()).hexdigest()
