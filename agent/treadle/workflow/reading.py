"""Reading: bytes to a JSON document, strictly.

Python's json accepts NaN, duplicate keys and lone surrogates, and dies of deep nesting and of long integers; so size,
depth and count are judged on the bytes before it runs, and its hooks plant a Flaw where a value is not acceptable.
Only a document that has flaws is walked to say where they are.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from treadle.workflow.findings import MAX_PER_SEVERITY, Finding, Findings
from treadle.workflow.names import shown, token

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 64
# 10,000 nodes and 50,000 edges with all that React Flow hangs on them, and as much again.
MAX_CONTAINERS: Final = 400_000

_INT_DIGITS: Final = 19  # of 2**63 - 1
_NO_BRACKET: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_LONE: Final = re.compile("[\ud800-\udfff]")
_MARKS: Final = {
    b"\xef\xbb\xbf": "begins with a byte order mark",
    b"\xff\xfe": "is UTF-16 or UTF-32",
    b"\xfe\xff": "is UTF-16",
}


@dataclass(frozen=True, slots=True)
class ReadResult:
    """A document, None when it can't be used, and why."""

    document: dict[str, Any] | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Flaw:
    """Stands in the document for a value that is not acceptable."""

    code: str
    message: str


class _Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def read_document(data: bytes) -> ReadResult:
    """Read one JSON object; whatever the bytes are, the answer is a document or findings."""
    findings = Findings()
    try:
        document = _parse(data, findings)
    except _Refused as refusal:
        findings.add(refusal.code, "", str(refusal))
        return ReadResult(None, findings.listed())
    return ReadResult(None if findings.failed else document, findings.listed())


def _parse(data: bytes, findings: Findings) -> dict[str, Any]:
    text = _decode(data)
    _weigh(data)
    loader = _Loader()
    document = loader.load(text)
    if loader.flaws or _SURROGATE.search(data):
        _locate(document, findings)
    if not isinstance(document, dict) and not findings.failed:
        what = "null" if document is None else f"a bare {type(document).__name__}"
        raise _Refused("not-a-workflow", f"the document is {what}, not an object")
    return document  # type: ignore[no-any-return] # an object, or the findings say why not


def _decode(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise _Refused("document-too-large", f"the document has {len(data):,} bytes, {MAX_BYTES:,} are allowed")
    for mark, what in _MARKS.items():
        if data.startswith(mark):
            raise _Refused("bad-encoding", f"the document {what}")
    if (at := data.find(b"\0")) >= 0:
        raise _Refused("bad-encoding", f"byte {at:,} is NUL")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _Refused("bad-encoding", f"byte {error.start:,} is not UTF-8") from error
    if not text.strip():
        raise _Refused("empty-document", "the document is empty")
    return text


def _weigh(data: bytes) -> None:
    """Judge depth and number of containers without building any."""
    # Without escaped backslashes and quotes every second piece between quotes is the inside of a string. Where this is
    # wrong, json has met an error before.
    pieces = data.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
    brackets = b"".join(pieces[::2]).translate(None, _NO_BRACKET)
    if len(brackets) > 2 * MAX_CONTAINERS:
        raise _Refused("too-many-values", f"more than {MAX_CONTAINERS:,} objects and arrays")
    depth = 0
    for bracket in brackets:
        if bracket in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise _Refused("too-deep", f"nested deeper than {MAX_DEPTH} levels")
        else:
            depth -= 1


class _Loader:
    """json with hooks that plant flaws, and remember whether they did."""

    def __init__(self) -> None:
        self.flaws = 0
        self._last = _Flaw("bad-number", "")

    def load(self, text: str) -> Any:
        try:
            return json.loads(
                text,
                object_pairs_hook=self._object,
                parse_int=self._int,
                parse_float=self._float,
                parse_constant=self._constant,
            )
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, column {error.colno}"
            early = " (the text ends too early)" if error.pos >= len(text.rstrip()) else ""
            raise _Refused("bad-json", f"{place}: {error.msg}{early}") from error

    def _flaw(self, code: str, message: str) -> _Flaw:
        # Past what findings list, one object stands for all: a million flaws take no more memory than as many numbers.
        self.flaws += 1
        if self.flaws <= MAX_PER_SEVERITY:
            self._last = _Flaw(code, message)
        return self._last

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    made[key] = self._flaw("duplicate-key", f"the key {shown(key)} stands here twice")
                seen.add(key)
        return made

    def _int(self, digits: str) -> int | _Flaw:
        if len(digits) <= _INT_DIGITS + 1:
            number = int(digits)
            if -(2**63) <= number < 2**63:
                return number
        return self._flaw("number-out-of-range", f"an integer of {len(digits.lstrip('-')):,} digits is beyond 64 bits")

    def _float(self, digits: str) -> float | _Flaw:
        number = float(digits)
        if number - number == 0:
            return number
        return self._flaw("number-out-of-range", f"the number {shown(digits)} is too large")

    def _constant(self, word: str) -> _Flaw:
        return self._flaw("bad-number", f"{word} is no JSON number")


def _locate(document: Any, findings: Findings) -> None:
    """Walk the document in its order and say where its flaws and lone surrogates are."""
    path: list[str] = []
    open_values: list[Iterator[tuple[str, Any]]] = [iter([("", document)])]
    while open_values and not findings.full:
        step = next(open_values[-1], None)
        if step is None:
            open_values.pop()
            if path:
                path.pop()
            continue
        path.append(step[0])
        _judge(*step, path, findings)
        if isinstance(step[1], dict | list):
            open_values.append(_members(step[1]))
        else:
            path.pop()


def _members(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        return iter(value.items())
    return ((str(index), below) for index, below in enumerate(value))


def _judge(key: str, value: Any, path: list[str], findings: Findings) -> None:
    what = None
    if isinstance(value, _Flaw):
        findings.add(value.code, _pointer(path), value.message)
    elif isinstance(value, str) and _LONE.search(value):
        what = "a string"
    if _LONE.search(key):
        what = "a key"
    if what:
        findings.add("lone-surrogate", _pointer(path), f"{what} holds a lone surrogate")


def _pointer(path: list[str]) -> str:
    return "/".join(token(part) for part in path)
