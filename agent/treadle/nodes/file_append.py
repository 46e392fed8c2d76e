"""file.append: appends items to a file."""

from __future__ import annotations

import json
import os
from collections import deque
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from treadle.data import NodeData
from treadle.node import BlockingNode, Params
from treadle.nodes.expression import Expression

_TAIL: Final = 1024 * 1024  # bytes at the end of the file that are searched for effect ids
_REMEMBERED: Final = 10_000  # effect ids


class FileAppendParams(Params):
    """Which file, and what a line looks like."""

    path: str = Field(
        min_length=1, description="The file, relative to the agent's working folder; it and its folder are made."
    )
    format: Literal["json", "text"] = Field("json", description="A JSON object a line, or text.")
    text: str = Field("string(data)", description="For `text`: CEL expression over `data` for the line.")
    effect_field: str | None = Field(
        "effect_id", description="For `json`: the field for the effect id, by which a repetition is recognised."
    )
    sync: bool = Field(default=False, description="Wait until each line is on disk (fsync).")


class FileAppend(BlockingNode[FileAppendParams]):
    """Appends each item to a file, as a line of JSON or text, and passes it on.

    JSON lines carry their effect id. After a crash the last MiB of the file is searched for it, so a repetition that
    follows at once appends nothing; one that comes later, and any in the format `text`, is appended again: at least
    once. Whoever needs more reads the effect ids, or uses `sql.insert`.
    """

    uses = "file.append"

    def open(self) -> None:
        path = Path(self.params.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        wants_text = self.params.format == "text"
        self._text = Expression(self.params.text, where="text") if wants_text else None
        # A retry's repetition is found in memory, a restart's in the tail of the file.
        self._recent: deque[str] = deque(maxlen=_REMEMBERED)
        self._seen: set[str] = set()
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._look_back()

    def close(self) -> None:
        os.close(self._file)

    def execute(self, data: NodeData) -> NodeData:
        effect_id = self.context.effect_id
        if effect_id not in self._seen:
            self._write(self._line(data, effect_id))
            self._remember(effect_id)
        return data

    def _line(self, data: NodeData, effect_id: str) -> str:
        if self._text is not None:
            return str(self._text(data))
        item: dict[str, Any] = dict(data.payload)
        if self.params.effect_field is not None:
            item[self.params.effect_field] = effect_id
        return json.dumps(item, ensure_ascii=False, default=bytes.hex)

    def _write(self, line: str) -> None:
        rest = memoryview(line.encode() + b"\n")
        while rest:
            rest = rest[os.write(self._file, rest) :]
        if self.params.sync:
            os.fsync(self._file)

    def _look_back(self) -> None:
        size = os.fstat(self._file).st_size
        tail = os.pread(self._file, _TAIL, max(size - _TAIL, 0))
        if tail and not tail.endswith(b"\n"):
            os.write(self._file, b"\n")  # a line that a crash cut: what follows must not be glued to it
        if self.params.format == "json" and self.params.effect_field is not None:
            for line in tail.splitlines():
                self._remember(_effect_of(line, self.params.effect_field))

    def _remember(self, effect_id: str | None) -> None:
        if effect_id is None or effect_id in self._seen:
            return
        if len(self._recent) == _REMEMBERED:
            self._seen.discard(self._recent[0])
        self._recent.append(effect_id)
        self._seen.add(effect_id)


def _effect_of(line: bytes, field: str) -> str | None:
    try:
        item = json.loads(line)
    except ValueError:
        return None  # cut at the start of the tail, or by a crash
    found = item.get(field) if isinstance(item, dict) else None
    return found if isinstance(found, str) else None
