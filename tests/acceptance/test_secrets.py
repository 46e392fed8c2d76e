"""A planted secret is found in no output, file, table, key, log or list of arguments, whatever nodes do with it."""

from __future__ import annotations

import secrets
import urllib.request
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.documents import Document, edges, node, save
from tests.acceptance.running import Dev, command_of, dev, marked, wait_until
from tests.otlp import Receiver, receiver

NODES: Final = str(Path(__file__).with_name("nodes") / "leaky.py")
POOLS: Final = ("thread", "asyncio", "process")


def leaky() -> Document:
    """Return a loop in each pool that does with the secret what it can, and one whose node can't even be made."""
    reference = {"with": {"token": {"$secret": "planted"}}}
    nodes, pairs = [], []
    for pool in POOLS:
        nodes += [
            node(pool, "queue-reader", 0, queue=f"in-{pool}", external=True, pool=pool),
            node(
                f"{pool}-leak",
                "blocking",
                200,
                uses="test.leaky",
                retry={"max_attempts": 1},
                on_exhausted="dead-letter",
                **reference,
            ),
        ]
        pairs.append((pool, f"{pool}-leak"))
    nodes += [
        node("strict", "queue-reader", 0, queue="in-strict", external=True),
        node("strict-node", "blocking", 200, uses="test.strict", **reference),
    ]
    return {"name": "leaky", "nodes": nodes, "edges": edges(*pairs, ("strict", "strict-node"))}


def searched(running: Dev, state: Path, *more: str) -> dict[str, str]:
    """Return everything that somebody could read: by name."""
    found = {str(file): file.read_bytes().decode("latin-1") for file in state.rglob("*") if file.is_file()}
    found |= {f"arguments of {pid}": command_of(pid) for pid in marked(running.mark)}
    found |= {"out": running.out, "err": running.err}
    for number, text in enumerate(more):
        found[f"output {number}"] = text
    return found


def sends_all(collector: Receiver) -> dict[str, str]:
    """Return the settings with which every iteration becomes a trace, and what nodes log goes out too."""
    return {
        "TREADLE_AGENT_OTLP_ENDPOINT": collector.endpoint,
        "TREADLE_AGENT_OTLP_INTERVAL_S": "0.5",
        "TREADLE_AGENT_OTLP_LOGS": "true",
        "TREADLE_AGENT_TRACES__RATIO": "1.0",
        "TREADLE_AGENT_TRACES__PER_SECOND": "0",
        "TREADLE_CONTROLLER_OTLP_ENDPOINT": collector.endpoint,
        "TREADLE_CONTROLLER_OTLP_LOGS": "true",
        "TREADLE_CONTROLLER_TRACES_RATIO": "1.0",
        "TREADLE_CONTROLLER_TRACES_PER_SECOND": "0",
    }


@pytest.mark.parametrize("source", ["folder", "environment"])
def test_a_planted_secret_is_found_nowhere(tmp_path: Path, source: str) -> None:
    planted = f"pl4nted/{secrets.token_hex(12)}&'\"%"
    (tmp_path / "vault").mkdir()
    if source == "folder":
        (tmp_path / "vault" / "planted").write_text(planted + "\n")
        given = {"TREADLE_AGENT_SECRETS__FOLDER": str(tmp_path / "vault")}
    else:
        given = {"TREADLE_SECRET_PLANTED": planted}
    state = tmp_path / "state"
    with (
        receiver() as collector,
        dev(tmp_path / "dev", "--state-dir", str(state), "--nodes", NODES, **given, **sends_all(collector)) as running,
    ):
        outputs = [running.wfctl("apply", "-f", save(tmp_path, leaky()), "--detach").out]
        for pool in POOLS:
            running.wfctl("queue", "push", f"in-{pool}", '{"n": 41}')
        for pool in POOLS:
            wait_until(partial(_dead, running, f"in-{pool}"), f"{pool} has given its message up")
        wait_until(lambda: _failed(running), "the strict one has said why")
        for verb in (
            ("describe", "workflow", "leaky", "-o", "json"),
            ("get", "loops", "-o", "json"),
            ("events", "leaky", "-o", "json"),
            *(("describe", "loop", f"leaky/{loop}", "-o", "json") for loop in (*POOLS, "strict")),
            *(("why", f"leaky/{loop}") for loop in (*POOLS, "strict")),
            *(("dlq", "show", f"in-{pool}", _letter(running, f"in-{pool}"), "-o", "json") for pool in POOLS),
        ):
            ran = running.wfctl(*verb)
            assert ran.code == 0, ran.err
            outputs.append(ran.out)
        wait_until(lambda: _log(state).count("from a child: [secret]") == len(POOLS), "all of it was logged")
        outputs.append(_metrics(running))
        everything = searched(running, state, *outputs)
        assert running.stop() == 0
        everything |= searched(running, state)
        everything["telemetry"] = collector.everything
        assert {"leaky"} <= {span.attributes.get("treadle.workflow") for span in collector.spans}
        assert collector.logs

    forms = {planted, repr(planted)[1:-1], planted.split("/")[1][:24]}
    assert not [name for name, text in everything.items() if any(form in text for form in forms)]
    told = "\n".join(outputs)
    assert "raised: 41 {'token': '[secret]'} " in told.replace('\\"', '"'), "what was said is there, less the secret"
    assert "[secret] is too long" in told
    for word in ("logged", "printed", "written"):
        assert _log(state).count(f"{word}: [secret]") == len(POOLS), word


def _dead(running: Dev, queue: str) -> bool:
    return bool(running.wfctl("dlq", "ls", queue, "-o", "json").json.get("deadLetters"))


def _letter(running: Dev, queue: str) -> str:
    found: str = running.wfctl("dlq", "ls", queue, "-o", "json").json["deadLetters"][0]["id"]
    return found


def _failed(running: Dev) -> bool:
    return "is too long" in running.wfctl("describe", "loop", "leaky/strict", "-o", "json").out


def _log(state: Path) -> str:
    return "\n".join(file.read_text() for file in (state / "logs").glob("*.log"))


def _metrics(running: Dev) -> str:
    address = running.err.partition("HTTP http://")[2].split()[0].rstrip(",;.")
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as page:
        text: str = page.read().decode()
    return text
