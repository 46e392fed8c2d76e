"""Examples beside a workflow: `orders.tests.yaml` says what `orders.json` does with certain messages.

workflow: orders.json            # by default the document of the same name
nodes: [nodes.py]                # modules, files or folders with node classes
examples:
  - name: a big order is rejected
    loop: check                  # by default all loops run
    push: {orders: [{id: 1, amount: 9000}]}
    fail: {charge: 2}            # the node raises on its next executions, so many times
    for: 30s                     # on the driven clock; it ends earlier when all loops have completed
    pushed: {rejected: [{id: 1}]}
    dead: {orders: []}
    committed: {check: 1}
    state: {check: {count: {n: 1}}}

Messages are compared whole and in order; what an example doesn't name is not looked at. Without `dead`, a dead letter
makes it fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from treadle.catalog import load
from treadle.errors import ConfigError, TreadleError
from treadle.node import Node
from treadle.testing.harness import LoopHarness, WorkflowHarness
from treadle.workflow.quantities import duration_s

SUFFIXES: Final = (".tests.yaml", ".tests.yml", ".tests.json")

Messages = dict[str, list[dict[str, Any]]]


class Example(BaseModel):
    """One example."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    loop: str | None = None
    push: Messages = {}
    fail: dict[str, int] = {}
    time: float | str = Field("10s", alias="for")  # a duration
    pushed: Messages = {}
    dead: Messages | None = None
    committed: dict[str, int] = {}
    state: dict[str, dict[str, dict[str, Any]]] = {}

    @field_validator("time")
    @classmethod
    def _is_duration(cls, value: float | str) -> float | str:
        if duration_s(value) is None:
            message = f"{value!r} is no duration: write 30s or 10m"
            raise ValueError(message)
        return value


class Examples(BaseModel):
    """A file of examples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workflow: str | None = None
    nodes: list[str] = []
    examples: list[Example]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one example; no problem: it holds."""

    name: str
    problem: str | None = None


def beside(path: Path) -> Path:
    """Return the file of examples for a workflow, or the one that was given. Raises ConfigError."""
    if path.name.endswith(SUFFIXES):
        return path
    for suffix in SUFFIXES:
        found = path.with_name(path.stem + suffix)
        if found.exists():
            return found
    raise ConfigError(f"there is no {path.stem}{SUFFIXES[0]} beside {path}")


def run_examples(path: Path, nodes: tuple[str, ...] = ()) -> list[Result]:
    """Run the examples of a file. Raises ConfigError for what can't be read."""
    examples = _read(path)
    document = path.parent / (examples.workflow or _document(path))
    sources = [*(_source(path.parent, each) for each in examples.nodes), *nodes]
    catalog = load(paths=sources)
    if catalog.errors:
        raise catalog.errors[0]
    installed = load().classes
    own = [each for name, each in catalog.classes.items() if name not in installed]
    return [_run(example, document, own) for example in examples.examples]


def _read(path: Path) -> Examples:
    try:
        return Examples.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} can't be read: {exc}") from exc
    except ValidationError as exc:
        told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in exc.errors())
        raise ConfigError(f"{path}: {told}") from exc


def _document(path: Path) -> str:
    stem = next(path.name.removesuffix(suffix) for suffix in SUFFIXES if path.name.endswith(suffix))
    return f"{stem}.json"


def _source(folder: Path, name: str) -> str:
    return str(folder / name) if (folder / name).exists() else name


def _run(example: Example, document: Path, nodes: list[type[Node[Any]]]) -> Result:
    options: dict[str, Any] = {"nodes": nodes, "dead_letters": "fail" if example.dead is None else "keep"}
    try:
        if example.loop is None:
            harness = WorkflowHarness(document, **options)
        else:
            harness = LoopHarness(document, loop=example.loop, **options)
        for node, times in example.fail.items():
            harness.fail(node, times)
        with harness:
            _play(example, harness)
    except (AssertionError, TreadleError, TimeoutError) as exc:
        return Result(example.name, str(exc))
    return Result(example.name)


def _play(example: Example, harness: WorkflowHarness) -> None:
    for queue, payloads in example.push.items():
        harness.push(queue, *payloads)
    if isinstance(harness, LoopHarness):
        harness.end()
    harness.run(duration_s(example.time))
    for queue, payloads in example.pushed.items():
        harness.expect_pushed(queue, *payloads)
    for queue, payloads in (example.dead or {}).items():
        harness.expect_dead(queue, *payloads)
    harness.expect_committed(**example.committed)
    for loop, states in example.state.items():
        for node, wanted in states.items():
            found = harness.state(loop, node)
            if found != wanted:
                raise AssertionError(f"state of {loop}/{node} is {found!r}, not {wanted!r}")
