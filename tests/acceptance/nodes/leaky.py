"""Nodes that do everything that they should not do with a secret."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, NoReturn

from pydantic import field_validator

from treadle import BlockingNode, NodeData, Params


class LeakyParams(Params):
    """The secret, and in which pool they are careless."""

    token: str


class Leaky(BlockingNode[LeakyParams]):
    """Prints, logs and raises it."""

    uses = "test.leaky"

    def execute(self, data: NodeData) -> NoReturn:
        token = self.params.token
        self.context.logger.error("logged: %s", token)
        print("printed:", token)  # noqa: T201 - what it is for
        sys.stderr.write(f"written: {token}\n")
        subprocess.run(["/bin/sh", "-c", "cat >&2"], input=f"from a child: {token}\n".encode(), check=True)
        raise ValueError(f"raised: {data['n']} {self.params.model_dump()} {token!r}")


class StrictParams(Params):
    """A secret that does not fit, and a message that shows it."""

    token: str

    @field_validator("token")
    @classmethod
    def _short(cls, value: str) -> str:
        raise ValueError(f"{value} is too long")


class Strict(BlockingNode[StrictParams]):
    """Can't be made."""

    uses = "test.strict"

    def execute(self, data: NodeData) -> Any:
        return data
