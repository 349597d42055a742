"""What may stand where: the annotation, the keys and the choices at a path of the experiment file."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from lab.core.section import Section
from lab.faults import FAULTS, Fault
from lab.spec.errors import Path, Step
from lab.spec.schema import Experiment


def _alternatives(annotation: Any) -> list[Any]:
    """Return the members of a union without None; metadata is stripped."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _alternatives(get_args(annotation)[0])
    if origin in (Union, UnionType):
        members = [_alternatives(member) for member in get_args(annotation) if member is not type(None)]
        return [member for group in members for member in group]
    return [annotation]


def section_at(annotation: Any) -> type[Section] | None:
    """Return the section that an annotation declares, or None."""
    for member in _alternatives(annotation):
        if isinstance(member, type) and issubclass(member, Section):
            return member
    return None


def _child(annotation: Any, step: Step) -> Any:
    """Return the annotation one step below, or None."""
    for member in _alternatives(annotation):
        if member is Fault:
            return FAULTS.get(str(step))
        origin = get_origin(member)
        if origin is list and isinstance(step, int):
            return get_args(member)[0]
        if origin is dict and isinstance(step, str):
            return get_args(member)[1]
        section = section_at(member)
        if section is not None:
            for name, field in section.model_fields.items():
                if step == (field.alias or name):
                    return field.annotation
    return None


def annotation_at(path: Path) -> Any:
    """Return the annotation at a path as written in the file (a fault's kind is a step), or None."""
    annotation: Any = Experiment
    for step in path:
        annotation = _child(annotation, step)
        if annotation is None:
            return None
    return annotation


def keys_at(path: Path) -> list[str]:
    """Return the keys a mapping at `path` may have; empty where any key may stand or no mapping belongs."""
    annotation = annotation_at(path)
    if annotation is Fault:
        return list(FAULTS)
    section = section_at(annotation)
    return [field.alias or name for name, field in section.model_fields.items()] if section else []


def choices_at(path: Path) -> list[str]:
    """Return the words a value at `path` is chosen from, or an empty list."""
    return [
        str(word)
        for member in _alternatives(annotation_at(path))
        if get_origin(member) is Literal
        for word in get_args(member)
    ]


def leaves(path: Path) -> Iterator[Path]:
    """Yield the paths of all single values at and below a path of sections."""
    section = section_at(annotation_at(path))
    if section is None:
        yield path
        return
    for name, field in section.model_fields.items():
        yield from leaves((*path, field.alias or name))
