"""YAML syntax errors in plain words: what the parser says, and the fix."""

from __future__ import annotations

from ruamel.yaml.error import MarkedYAMLError

from lab.core.units import shown
from lab.spec.source import Source

# (part of the parser's problem, sentence); `{line}` is the line where the construct began.
_SENTENCES = (
    ("found character '\\t'", "a tab stands where YAML wants spaces; indent with spaces"),
    ("found a tab character", "a tab stands where YAML wants spaces; indent with spaces"),
    ("that cannot start any token", "a text cannot begin with this character; put the text in quotes"),
    ("mapping values are not allowed", "a colon does not fit here; quote a text with ': ' or check the indentation"),
    ("could not find expected ':'", "the key that begins on line {line} has no colon after it; write `key: value`"),
    ("expected ',' or ']'", "the list opened with [ on line {line} is not closed; add a comma or ]"),
    ("expected ',' or '}'", "the mapping opened with {{ on line {line} is not closed; add a comma or }}"),
    ("found unexpected end of stream", "the quoted text that begins on line {line} is not closed; add the quote"),
    ("found unexpected document separator", "the quoted text that begins on line {line} is not closed; add the quote"),
    ("expected <block end>", "this does not fit the block that begins on line {line}; check the indentation"),
    ("expected the node content", "a value is expected here; write one, or put the text in quotes"),
    ("sequence entries are not allowed", "a list item does not fit here; begin the list on a line of its own"),
    ("block sequence entries not allowed", "a list item does not fit here; begin the list on a line of its own"),
    ("found unknown escape character", "this backslash escape is unknown; write the text in single quotes"),
    ("found duplicate anchor", "this anchor name is already taken; choose another"),
)


def syntax_error(error: MarkedYAMLError, source: Source, offset: int) -> tuple[int, str]:
    """Return (offset, sentence) for a parser error; unknown ones are quoted. `offset` is used if the error has none."""
    problem = error.problem or error.context or "unreadable"
    found, begun = error.problem_mark or error.context_mark, error.context_mark or error.problem_mark
    place = found.index if found else offset
    line = source.line_of(begun.index if begun else offset)
    for part, sentence in _SENTENCES:
        if part in problem:
            # An open quote runs to the end of the file: its beginning is the place to look at.
            at_begin = "not closed; add the quote" in sentence and begun is not None
            return begun.index if at_begin else place, sentence.format(line=line)
    return place, f"this is not YAML: {shown(problem)[1:-1]}; check quotes, brackets and indentation"
