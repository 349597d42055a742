"""Validation errors as sentences a person can act on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lab.core.units import shown
from lab.spec.errors import Path, nearest
from lab.spec.shape import choices_at, keys_at

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# What to write for a missing key.
_EXAMPLES = {
    "title": "title: A follower is cut off",
    "system": "system: { replicas: [ {name: leader}, {name: f1} ] }",
    "replicas": "replicas: [ {name: leader}, {name: f1} ]",
    "name": "name: f1",
    "workload": "workload: { arrivals: poisson(200/s), duration: 20s }",
    "arrivals": "arrivals: poisson(200/s)",
    "duration": "duration: 20s",
    "rate": "rate: 1000/s",
    "at": "at: 5s",
    "for": "for: 3s",
    "by": "by: 50ms",
    "up_to": "up_to: 20ms",
    "share": "share: 5%",
    "node": "node: f1",
    "groups": "groups: [[leader], [f1, f2]]",
    "mode": "mode: async",
    "parameters": "parameters: { policy.timeout: 20ms..2s log }",
    "minimise": "minimise: [ convergence.p99 ]",
}


def unknown_key(key: str, path: Path) -> str:
    """Return the sentence for a key that does not belong into the mapping at `path`."""
    known = keys_at(path)
    before, colon, after = key.partition(":")
    if colon and before in known:
        return f"a colon needs a space after it; write `{before}: {after}`"
    lower = key.lower().replace("-", "_")
    hint = f"did you mean {lower}?" if lower in known else nearest(key, known)
    return f"unknown key; {hint or 'keys here: ' + ', '.join(known)}"


def sentence(error: ErrorDetails, path: Path) -> str:
    """Return the sentence for one validation error at `path` (the path of the value; of the key if it is missing)."""
    kind, context = error["type"], error.get("ctx", {})
    value: Any = error.get("input")
    if kind == "missing":
        key = str(path[-1])
        return f"the key {key} is missing; add for example `{_EXAMPLES.get(key, key + ': …')}`"
    if kind == "extra_forbidden":
        return unknown_key(str(path[-1]), path[:-1])
    if kind == "value_error":
        text = str(context.get("error", error["msg"]))
        return text if value is not None else text.replace("null is", "an empty value is", 1)
    if kind == "literal_error":
        words = choices_at(path)
        hint = nearest(value, words) if isinstance(value, str) else ""
        return f"{shown(value)} is not possible here; {hint or 'write ' + _either(words)}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        known = keys_at(path)
        return f"{_read(value)}; {'keys here: ' + ', '.join(known) if known else 'write key: value pairs'}"
    if kind == "list_type":
        return f"{_read(value)}; write a list: [ … ]"
    if kind == "string_type":
        return _not_text(value)
    if kind == "int_type":
        return _not_whole(value)
    return _length_or_range(kind, context, path) or f"{error['msg'][:1].lower()}{error['msg'][1:]}"


def text_or_list(value: Any, path: Path) -> str:
    """Return the sentence for a value that is neither a text nor a list of texts."""
    if path[-1] == "links":
        example = "write all, or a list such as [leader->f1]"
    else:
        example = "write a range such as 20ms..2s, or a list of choices"
    return f"{shown(value)} is not possible here; {example}"


def _read(value: Any) -> str:
    return "nothing is written here" if value is None else f"{shown(value)} is not possible here"


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _not_text(value: Any) -> str:
    if value is None:
        return "nothing is written here; write a text"
    if isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), str):
        ((key, text),) = value.items()
        return f"a colon makes this a mapping; write the text in quotes: {shown(f'{key}: {text}')}"
    if isinstance(value, (dict, list)):
        return f"{shown(value)} is not a text; write one text, in quotes if it holds ': ', commas or brackets"
    what = "a truth value" if isinstance(value, bool) else "a number"
    return f"{shown(value)} is read as {what}; write '{shown(value)}' in quotes"


def _not_whole(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"the number has a point or an exponent; write {int(value)}"
    digits = re.sub(r"[ _,']", "", value) if isinstance(value, str) else ""
    if re.fullmatch(r"[0-9]{1,15}", digits):
        return f"{shown(value)} is a text; write the whole number {int(digits)}"
    return f"{shown(value)} is not a whole number; write for example 8"


def _length_or_range(kind: str, context: dict[str, Any], path: Path) -> str:
    if kind == "too_short" and path[-1] == "groups":
        return "no link is cut: is that meant? Write at least two groups, for example [[leader], [f1, f2]]"
    if kind == "too_short":
        return f"at least {context['min_length']} entries are needed, {context['actual_length']} written; add some"
    if kind == "too_long":
        return f"at most {context['max_length']} entries are possible; write fewer"
    if kind == "string_too_short":
        return "the text is empty; write one"
    if kind == "string_too_long":
        return f"the text is longer than {context['max_length']} characters; shorten it"
    if kind == "greater_than_equal":
        return f"the number is below {context['ge']}, the least that is possible; write {context['ge']} or more"
    if kind == "less_than_equal":
        return f"the number is above {context['le']}, the most that is possible; write {context['le']} or less"
    return ""
