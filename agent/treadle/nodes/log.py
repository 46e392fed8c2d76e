"""log: writes items to the loop's log."""

from __future__ import annotations

import json
import logging
from typing import Any, Final, Literal

from pydantic import Field

from treadle.data import NodeData
from treadle.node import BlockingNode, Params

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_LONGEST: Final = 4096  # characters of one item; a log is no place for megabytes


class LogParams(Params):
    """What to write."""

    message: str = Field("", description="Text in front of the fields.")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Level of the log line.")
    fields: list[str] | None = Field(None, description="Which fields to write; all of them by default.")


class Log(BlockingNode[LogParams]):
    """Writes items to the loop's log (`wfctl logs`), as text and as structured fields, and passes them on."""

    uses = "log"
    inline = True

    def execute(self, data: NodeData) -> NodeData:
        chosen = self.params.fields
        fields = dict(data.payload) if chosen is None else {name: data[name] for name in chosen if name in data}
        text = json.dumps(fields, ensure_ascii=False, default=_describe)
        line = f"{self.params.message} {text[:_LONGEST]}".strip()
        logger = self.context.logger  # an adapter, which would put its own extra fields in place of ours
        extra = {**(logger.extra or {}), "fields": fields}
        logger.logger.log(_LEVELS[self.params.level], "%s", line, extra=extra)
        return data


def _describe(value: Any) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else repr(value)
