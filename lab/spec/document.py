"""An experiment as JSON: everything written out with units, its fingerprint, and the schema for editors."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from lab.core.laws import Law
from lab.faults import FAULTS
from lab.spec.schema import SCHEMA_VERSION, Experiment


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
    if data["tune"] is None:
        del data["tune"]
    # Experiments from before there were breakers keep their fingerprint.
    if data["policy"]["breaker"] == type(experiment.policy.breaker)().model_dump(mode="json"):
        del data["policy"]["breaker"]
    return data


def fingerprint(experiment: Experiment) -> str:
    """Return the SHA-256 (hexadecimal) of the resolved experiment and the values of its measured samples.

    Files that differ only in layout, key order or left-out defaults have one fingerprint.
    """
    content = {
        "schema": SCHEMA_VERSION,
        "experiment": resolved(experiment),
        "samples": {law.source: _digest(law.values_ns) for law in _sample_laws(experiment)},
    }
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
    schema["properties"]["faults"]["items"] = {"oneOf": kinds}
    schema["$defs"].pop("Fault", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _sample_laws(experiment: Experiment) -> list[Law]:
    laws = [link.delay for link in experiment.network.links.values()]
    laws += [law for fault in experiment.faults if isinstance(law := getattr(fault, "by", None), Law)]
    return [law for law in laws if law.shape == "samples"]


def _digest(values_ns: tuple[int, ...]) -> str:
    return hashlib.sha256(",".join(map(str, values_ns)).encode()).hexdigest()
