"""Has a catalog child import the node modules, and takes what it finds, or that it hangs or dies."""

from __future__ import annotations

import asyncio
from typing import Final

from treadle_agent.frames import Found, FromChild, Why
from treadle_agent.supervisor.child import Child
from treadle_agent.supervisor.hosts import Hosts

IMPORT_LIMIT_S: Final = 10.0


class CatalogScan:
    """One look at all node modules. A module that hangs or kills the process hides no other: see `run`."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._child: Child | None = None
        self._found: asyncio.Future[Found] | None = None

    async def run(self, nodes: tuple[str, ...]) -> Found:
        """Return the node types and what can't be offered.

        When the child hangs or dies, each module is tried in a child of its own, and the culprits are reported.
        """
        whole = await self._scan(None, entry_points=True)
        if isinstance(whole, Found):
            return whole
        parts = [await self._scan((), entry_points=True)]
        parts += [await self._scan((module,), entry_points=False) for module in nodes]
        names = ["the installed node modules", *nodes]
        errors = [_blame(name, part) for name, part in zip(names, parts, strict=True) if isinstance(part, Why)]
        found = [part for part in parts if isinstance(part, Found)]
        types = {each.uses: each for part in reversed(found) for each in part.types}
        return Found(list(types.values()), [*errors, *(why for part in found for why in part.errors)])

    def hear(self, child: Child, frame: FromChild) -> None:
        """Take in a frame of the catalog child."""
        if child is self._child and isinstance(frame, Found) and self._found is not None and not self._found.done():
            self._found.set_result(frame)

    def gone(self, child: Child, code: int) -> None:
        """Take in that the catalog child is gone."""
        if child is self._child and self._found is not None and not self._found.done():
            self._found.set_exception(ChildProcessError(code))

    async def _scan(self, nodes: tuple[str, ...] | None, *, entry_points: bool) -> Found | Why:
        self._found = asyncio.get_running_loop().create_future()
        self._child = self._hosts.launch("catalog", nodes=nodes, entry_points=entry_points)
        try:
            return await asyncio.wait_for(self._found, IMPORT_LIMIT_S)
        except TimeoutError:
            return Why("import-timeout", f"importing takes more than {IMPORT_LIMIT_S:g} s")
        except ChildProcessError as exc:
            return Why("import-died", f"importing ended the process with {exc.args[0]}")
        finally:
            self._child.kill()


def _blame(name: str, why: Why) -> Why:
    return Why(why.code, f"{name}: {why.message}")
