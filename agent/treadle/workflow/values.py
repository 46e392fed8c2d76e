"""Values of settings: what each may be, and its normal form.

A **parser** takes a value, where it stands below the setting, and a list to which it adds what is wrong; it returns the
normal form (durations in seconds, sizes in bytes), which means nothing when something was wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from treadle.workflow import quantities
from treadle.workflow.names import is_name, is_uses, kind_of, nearest, shown, token

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a value; `at` is the JSON pointer below the setting."""

    at: str
    message: str
    code: str = "bad-setting"


_MAX_PROBLEMS: Final = 20  # of one setting
_MAX_LISTED: Final = 1_000

Parser = Callable[[Any, str, list[Problem]], Any]


def fits(parser: Parser, value: Any) -> bool:
    """Whether the parser finds nothing wrong."""
    problems: list[Problem] = []
    parser(value, "", problems)
    return not problems


def _wrong(problems: list[Problem], at: str, expected: str, value: Any) -> None:
    found = value if isinstance(value, int | float) and not isinstance(value, bool) else kind_of(value)
    if isinstance(value, str):
        found = shown(value)
    problems.append(Problem(at, f"must be {expected}, not {found}"))


def duration(*, least: float = 0.0, positive: bool = False) -> Parser:
    """A duration in seconds or with a unit."""
    bound = "a duration above 0" if positive else "a duration of 0 or more"

    def parse(value: Any, at: str, problems: list[Problem]) -> float | None:
        seconds = quantities.duration_s(value)
        if seconds is None or seconds < least or (positive and seconds == 0):
            _wrong(problems, at, f'{bound} (seconds, or a text such as "200ms" or "5s") and at most 10,000 days', value)
        return seconds

    return parse


def size(value: Any, at: str, problems: list[Problem]) -> int | None:
    """Bytes, or a text with a unit."""
    amount = quantities.size(value)
    if amount is None:
        _wrong(problems, at, 'a size (bytes, or a text such as "512MiB")', value)
    return amount


def integer(least: int, most: int) -> Parser:
    """A whole number from `least` to `most`; a boolean is none."""

    def parse(value: Any, at: str, problems: list[Problem]) -> int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not least <= value <= most:
            _wrong(problems, at, f"a whole number from {least:,} to {most:,}", value)
            return least
        return int(value)

    return parse


def number(least: float, most: float) -> Parser:
    """A number from `least` to `most`."""

    def parse(value: Any, at: str, problems: list[Problem]) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            _wrong(problems, at, f"a number from {least:g} to {most:g}", value)
            return least
        return float(value)

    return parse


def boolean(value: Any, at: str, problems: list[Problem]) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        _wrong(problems, at, "true or false", value)
    return value is True


def one_of(*choices: str) -> Parser:
    """One of a few words."""
    listed = " or ".join(f"'{choice}'" for choice in choices)

    def parse(value: Any, at: str, problems: list[Problem]) -> Any:
        if not isinstance(value, str) or value not in choices:
            _wrong(problems, at, listed, value)
        return value

    return parse


def name(value: Any, at: str, problems: list[Problem]) -> Any:
    """The name of a queue, loop or workflow."""
    if not isinstance(value, str):
        _wrong(problems, at, "a name", value)
    elif not is_name(value):
        problems.append(Problem(at, f"{shown(value)} is no name", "bad-name"))
    return value


def uses(value: Any, at: str, problems: list[Problem]) -> Any:
    """The name of a node type. Never an import path."""
    if not isinstance(value, str):
        _wrong(problems, at, "the name of a node type", value)
    elif not is_uses(value):
        problems.append(Problem(at, f"{shown(value)} can't be the name of a node type", "bad-node-type"))
    return value


def text(value: Any, at: str, problems: list[Problem]) -> Any:
    """Any string."""
    if not isinstance(value, str):
        _wrong(problems, at, "a string", value)
    return value


def mapping(value: Any, at: str, problems: list[Problem]) -> Any:
    """Any object."""
    if not isinstance(value, dict):
        _wrong(problems, at, "an object", value)
        return {}
    return value


def list_of(parser: Parser, *, least: int = 0) -> Parser:
    """An array of values that are all different."""
    expected = (
        f"an array of {least} to {_MAX_LISTED:,} values" if least else f"an array of at most {_MAX_LISTED:,} values"
    )

    def parse(value: Any, at: str, problems: list[Problem]) -> list[Any]:
        if not isinstance(value, list) or not least <= len(value) <= _MAX_LISTED:
            _wrong(problems, at, expected, value)
            return []
        before = len(problems)
        parsed: list[Any] = []
        for index, item in enumerate(value):
            parsed.append(parser(item, f"{at}/{index}", problems))
            if len(problems) > _MAX_PROBLEMS:
                break
        if len(problems) == before and len(set(parsed)) != len(parsed):
            problems.append(Problem(at, "names one thing twice"))
        return parsed

    return parse


def table_of(parser: Parser) -> Parser:
    """An object with keys of any name and values of one form."""

    def parse(value: Any, at: str, problems: list[Problem]) -> dict[str, Any]:
        parsed: dict[str, Any] = {}
        for key, item in mapping(value, at, problems).items():
            parsed[key] = parser(item, f"{at}/{token(key)}", problems)
            if len(problems) > _MAX_PROBLEMS:
                break
        return parsed

    return parse


def section(parsers: Mapping[str, Parser]) -> Parser:
    """An object with known keys only; null leaves a key unset unless it is `nullable`."""

    def parse(value: Any, at: str, problems: list[Problem]) -> dict[str, Any]:
        parsed: dict[str, Any] = {}
        for key, item in mapping(value, at, problems).items():
            parser, here = parsers.get(key), f"{at}/{token(key)}"
            if parser is None:
                problems.append(Problem(here, _unknown(key, parsers), "unknown-setting"))
            elif item is not None or parser in NULLABLE:
                parsed[key] = parser(item, here, problems)
            if len(problems) > _MAX_PROBLEMS:
                break
        return parsed

    return parse


def _unknown(key: str, parsers: Mapping[str, Parser]) -> str:
    near = nearest(key, parsers)
    hint = f"did you mean '{near}'?" if near else f"known are {', '.join(parsers)}"
    return f"{shown(key)} is not known here; {hint}"


NULLABLE: set[Parser] = set()  # the parsers to which null says something


def or_null(parser: Parser) -> Parser:
    """The same, or null, which is a value of its own."""

    def parse(value: Any, at: str, problems: list[Problem]) -> Any:
        return None if value is None else parser(value, at, problems)

    NULLABLE.add(parse)
    return parse


def or_word(word: str, parser: Parser, meaning: Callable[[str], Any]) -> Parser:
    """The same, or one word that stands for a value."""

    def parse(value: Any, at: str, problems: list[Problem]) -> Any:
        return meaning(word) if value == word else parser(value, at, problems)

    return parse
