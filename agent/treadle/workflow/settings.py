"""Settings: which keys of `data` mean something on which node, and what an author wrote there.

What is read is normalised and holds only what was written: defaults are filled in by the compiler, so that a digest
never changes because a default does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from treadle.workflow import values
from treadle.workflow.names import shown, token
from treadle.workflow.values import NULLABLE, Parser, Problem, fits, section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.workflow.findings import Findings

KEEP: Final = "keep"

_RETRY: Final = section(
    {
        "max_attempts": values.integer(1, 1_000_000),
        "initial_backoff": values.duration(),
        "multiplier": values.number(1, 1_000),
        "max_backoff": values.duration(),
        "jitter": values.one_of("full", "none"),
        "max_elapsed": values.or_null(values.duration()),
        "retry_on": values.list_of(values.text),
        "never_retry_on": values.list_of(values.text),
        "on_exhausted": values.one_of("fail-loop", "restart-loop", "dead-letter", "skip", "stop-workflow"),
    }
)
_RESTART_MODE: Final = values.one_of("on-failure", "always", "never")
_RESTART_SECTION: Final = section(
    {
        "mode": _RESTART_MODE,
        "initial_backoff": values.duration(),
        "max_backoff": values.duration(),
        "max_restarts": values.integer(0, 1_000_000),
        "window": values.duration(positive=True),
    }
)


def _restart(value: Any, at: str, problems: list[Problem]) -> dict[str, Any]:
    """A policy, or its mode alone."""
    if isinstance(value, str):
        return {"mode": _RESTART_MODE(value, at, problems)}
    return dict(_RESTART_SECTION(value, at, problems))


_LIMITS: Final = values.or_null(
    section(
        {
            "messages": values.or_null(values.integer(1, 2**53)),
            "bytes": values.or_null(values.size),
            "when_full": values.one_of("block", "drop-oldest"),
        }
    )
)
_PLACEMENT: Final = section({"labels": values.table_of(values.text), "prefer": values.table_of(values.text)})
_TRACING: Final = values.one_of("link", "parent")
_POOL: Final = values.one_of("thread", "process", "asyncio")
_QUEUES: Final = section({"push": values.list_of(values.name), "pop": values.list_of(values.name)})

_RUN: Final[dict[str, Parser]] = {"retry": _RETRY, "attempt_timeout": values.duration(positive=True)}
_USE: Final[dict[str, Parser]] = {"uses": values.uses, "with": values.mapping, "queues": _QUEUES}
_JOIN: Final[dict[str, Parser]] = {"join": values.one_of("all", "any", "each")}
_READ: Final[dict[str, Parser]] = {
    "queue": values.name,
    "external": values.boolean,
    "max_deliveries": values.integer(1, 1_000_000),
}

LOOP_SETTINGS: Final[dict[str, Parser]] = {
    "pool": _POOL,
    "replicas": values.integer(1, 1_000),
    "interval": values.duration(),
    "max_in_flight": values.integer(1, 1_000_000),
    "iteration_timeout": values.duration(positive=True),
    "placement": _PLACEMENT,
    "restart": _restart,
    "tracing": _TRACING,
    "on_lost_contact": values.or_word(KEEP, values.duration(), lambda _: KEEP),
    "resources": section(
        {
            "memory": values.size,
            "open_files": values.integer(16, 10_000_000),
            "threads": values.integer(1, 1_000_000),
        }
    ),
}

# By kind of node; a queue-reader has other settings as its loop's producer ("reader") than in mid-chain.
SETTINGS: Final[dict[str, dict[str, Parser]]] = {
    "producer": {**_USE, **_RUN, **LOOP_SETTINGS},
    "blocking": {**_USE, **_RUN, **_JOIN},
    "non-blocking": {**_USE, **_RUN, **_JOIN},
    "queue": {"queue": values.name, "external": values.boolean, "limits": _LIMITS, **_RUN, **_JOIN},
    "queue-reader": {
        **_READ, **_RUN, **_JOIN,
        "timeout": values.duration(),
        "on_empty": values.one_of("skip", "pass", "error"),
    },
    "reader": {**_READ, "queues": values.list_of(values.name, least=1), **_RUN, **LOOP_SETTINGS},
    "loop": {"name": values.name, **LOOP_SETTINGS},
}  # fmt: skip

_DEFAULTS: Final = section(
    {"pool": _POOL, "tracing": _TRACING, "retry": _RETRY, "restart": _restart, "placement": _PLACEMENT}
)
_ROLLOUT: Final = section(
    {
        "max_parallel": values.integer(1, 10_000),
        "progress_deadline": values.duration(positive=True),
    }
)

_KNOWN: Final = frozenset(key for table in SETTINGS.values() for key in table) - {"name"}
# Keys of React Flow and of other editors that resemble a setting, or are one by chance, and mean nothing here.
_HARMLESS: Final = frozenset(
    "label labels name title description text content notes tooltip tags category version id type icon color colour "
    "width height limit user users rest tool tools pools style className selected status".split()
)


def read_settings(kind: str, data: Mapping[str, Any], pointer: str, element: str, findings: Findings) -> dict[str, Any]:
    """What the author wrote under `data` (at `pointer`) of a node of this kind (a key of SETTINGS)."""
    parsers = SETTINGS[kind]
    written: dict[str, Any] = {}
    for key, value in data.items():
        parser = parsers.get(key)
        if parser is None:
            if key not in _HARMLESS:
                _judge_stray(key, value, kind, pointer, element, findings)
        elif value is not None or parser in NULLABLE:
            problems: list[Problem] = []
            written[key] = parser(value, "", problems)
            if problems:
                report(problems, key, pointer, element, findings)
                del written[key]
    return written


def read_top(document: Mapping[str, Any], pointers: Mapping[str, str], findings: Findings) -> dict[str, dict[str, Any]]:
    """The document's own `defaults` and `rollout`, empty when absent; `pointers` says in which object each stands."""
    read: dict[str, dict[str, Any]] = {}
    for key, parser in (("defaults", _DEFAULTS), ("rollout", _ROLLOUT)):
        problems: list[Problem] = []
        value = document.get(key)
        read[key] = {} if value is None else parser(value, "", problems)
        report(problems, key, pointers.get(key, ""), "", findings)
    return read


def report(problems: list[Problem], key: str, pointer: str, element: str, findings: Findings) -> None:
    """Turn the problems of one setting into findings."""
    for problem in problems:
        name = (key + problem.at).replace("/", ".")
        findings.add(problem.code, f"{pointer}/{key}{problem.at}", f"'{name}' {problem.message}", element=element)


def _judge_stray(key: str, value: Any, kind: str, pointer: str, element: str, findings: Findings) -> None:
    where = f"{pointer}/{token(key)}"
    what = "a mid-chain queue-reader" if kind == "queue-reader" else f"a {'queue-reader' if kind == 'reader' else kind}"
    if key in _KNOWN:
        findings.add("misplaced-setting", where, f"'{key}' has no effect on {what}", element=element)
        return
    parsers = SETTINGS[kind]
    near = findings.hints.nearest(key, parsers, among=kind)
    if near:
        meant = fits(parsers[near], value)
        message = f"{shown(key)} is not known; did you mean '{near}'?"
        findings.add("near-miss", where, message, element=element, severity="error" if meant else "warning")
