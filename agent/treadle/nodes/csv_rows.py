"""csv.rows: reads a CSV file row by row."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

from pydantic import Field

from treadle.data import LoopComplete
from treadle.errors import Permanent
from treadle.node import Params, ProducerNode
from treadle.nodes.line_file import LineFile

ColumnType = Literal["text", "integer", "number", "boolean"]

_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_READERS: Final[dict[ColumnType, Callable[[str], Any]]] = {
    "text": str,
    "integer": int,
    "number": float,
    "boolean": lambda text: _BOOLEANS[text.lower()],
}


class _Lines(Iterator[str]):
    """The lines of a file from where it stands; it may be seeked between two rows, also after its end."""

    def __init__(self, file: LineFile, encoding: str) -> None:
        self._file = file
        self._encoding = encoding

    def __next__(self) -> str:
        line = self._file.read()
        if line is None:
            raise StopIteration
        return line.decode(self._encoding)


class CsvRowsParams(Params):
    """Which file, and what its columns hold."""

    path: str = Field(min_length=1, description="The file, relative to the agent's working folder; `.gz` is unpacked.")
    columns: dict[str, ColumnType] = Field(
        default_factory=dict,
        description="Column -> type; others are text. In a typed column, nothing between the commas is null.",
    )
    names: list[str] | None = Field(None, description="Column names of a file whose first row is data already.")
    delimiter: str = Field(",", min_length=1, max_length=1, description="What separates columns.")
    encoding: Literal["utf-8", "latin-1", "cp1252", "ascii"] = Field("utf-8", description="How the text is encoded.")
    bad_values: Literal["error", "null"] = Field("error", description="What a value of the wrong type becomes.")


class CsvRows(ProducerNode[CsvRowsParams]):
    """Emits each row of a CSV file exactly once, a field per column, and completes at the end.

    The place in the file is stored with each commit: after a crash it goes on with the row that comes next.
    """

    uses = "csv.rows"
    stateful = True

    def open(self) -> None:
        self._file = LineFile(self.params.path)
        self._rows = csv.reader(_Lines(self._file, self.params.encoding), delimiter=self.params.delimiter, strict=True)
        self._names = self.params.names or self._header()
        self._start = 0 if self.params.names else self._file.offset
        unknown = sorted(set(self.params.columns) - set(self._names))
        if unknown:
            have = ", ".join(self._names)
            raise Permanent(f"{self.params.path} has no column {', '.join(unknown)}; it has {have}")

    def close(self) -> None:
        self._file.close()

    def execute(self) -> dict[str, Any] | LoopComplete:
        place = self.state.get("place", {"offset": self._start, "row": 0})
        self._file.seek(place["offset"])
        values = self._next(place["row"] + 1)
        if values is None:
            return LoopComplete()
        number = place["row"] + 1
        row = self._row(number, values)
        self.state["place"] = {"offset": self._file.offset, "row": number}
        return row

    def _header(self) -> list[str]:
        names = self._next(0) or []
        names = [names[0].removeprefix("\ufeff"), *names[1:]] if names else []
        if not names or len(set(names)) < len(names):
            raise Permanent(f"{self.params.path} has no row of column names that differ; give `names`")
        return names

    def _next(self, number: int) -> list[str] | None:
        """Return the next row that is not blank, or None at the end."""
        try:
            return next((row for row in self._rows if row), None)
        except (csv.Error, UnicodeDecodeError) as exc:
            raise Permanent(f"{self.params.path}, row {number}: {exc}") from exc

    def _row(self, number: int, values: list[str]) -> dict[str, Any]:
        if len(values) != len(self._names):
            message = f"{self.params.path}, row {number}: {len(values)} values for {len(self._names)} columns"
            raise Permanent(message)
        return {name: self._value(number, name, text) for name, text in zip(self._names, values, strict=True)}

    def _value(self, number: int, name: str, text: str) -> Any:
        kind = self.params.columns.get(name)
        if kind is None or kind == "text":
            return text
        if not text:
            return None
        try:
            return _READERS[kind](text)
        except (ValueError, KeyError) as exc:
            if self.params.bad_values == "null":
                return None
            message = f"{self.params.path}, row {number}, column {name!r}: {text!r} is no {kind}"
            raise Permanent(message) from exc
