"""Every example of controller/reference.md, which is also what `--help` shows, works in a real cluster.

The examples speak of a workflow `numbers` with loops `count` and `in`, of its queue `counted`, which a program
`billing` reads too, and of a host `host-1`: the cluster here has them. Those that take something away come last.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import grpc
import pytest

from tests import pages
from tests.acceptance.documents import edges, node, save
from tests.acceptance.running import ROOT, Dev, dev, environment, wait_until, wfctl
from treadle.v1 import queue_service_pb2 as pb
from treadle.v1.queue_service_pb2_grpc import QueueServiceStub

PAGE: Final = "controller/reference.md"
EXAMPLES: Final = [command for block in pages.shell(PAGE) for command in block.commands()]
# What is taken away comes last, and contexts, which say where everything is, after all that needs to know.
ORDER: Final = (
    "wfctl agent revoke",
    "wfctl delete",
    "wfctl queue delete counted",
    "wfctl context set",
    "wfctl context",
)
ENDLESS: Final = (
    "wfctl dev deploy/workflows/host-metrics.json",
    "wfctl dev --state-dir",
    "wfctl get loops numbers --watch",
    "wfctl logs -f",
    "wfctl events --watch",
)
# There is no authority here; three hosts have one, whose guide says how they enrol.
REFUSED: Final = {"wfctl agent token create host-2": "this controller signs no certificates"}
OTHER_SHELLS: Final = ("wfctl completion zsh",)  # what it prints is no script of the shell that runs this
_GONE: Final = 20.0


def document(interval: str, queue: str = "counted") -> dict[str, Any]:
    """Count and double; each fiftieth number can't be divided by, and becomes a dead letter."""
    retry = {"max_attempts": 1, "on_exhausted": "dead-letter"}
    halved = {"set": {"doubled": "data.n * 2", "part": "1 / (data.n % 50)"}}
    return {
        "name": "numbers",
        "nodes": [
            node("count", "producer", 0, uses="generate", interval=interval, **{"with": {"start": 1}}),
            node("put", "queue", 200, queue=queue, external=True),
            node("in", "queue-reader", 400, queue=queue, external=True),
            node("double", "blocking", 600, uses="transform", retry=retry, **{"with": halved}),
        ],
        "edges": edges(("count", "put"), ("put", "in"), ("in", "double")),
    }


def rank(command: str) -> int:
    found = [number for number, begin in enumerate(ORDER, 1) if command.startswith(begin)]
    return 0 if not found else found[0] if command != "wfctl context delete prod" else len(ORDER) + 1


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Return a cluster in which there is what the examples name."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "flows").mkdir()
    for name in ("ca.pem", "me.pem", "me.key"):
        (folder / name).write_text("a context only names it\n")
    (folder / "home" / ".config" / "fish" / "completions").mkdir(parents=True)
    (folder / "messages.jsonl").write_text('{"n": 3}\n{"n": 4}\n')
    (folder / "numbers.py").write_text(pages.blocks("README.md", "python")[0].text)
    (folder / "numbers.tests.yaml").write_text("examples: [{name: counts, for: 100ms, dead: {counted: []}}]\n")
    another = save(folder / "flows", {**document("1h", "others"), "name": "another"}, "another.json")
    assert wfctl("fmt", another, address="127.0.0.1:1").code == 0
    (folder / "deploy").symlink_to(ROOT / "deploy")
    with dev(folder / "dev", "--agents", "2") as running:
        for interval in ("30ms", "25ms", "20ms"):
            file = save(folder, document(interval), "numbers.json")
            for words in (["fmt", file], ["apply", "-f", file]):
                assert running.wfctl(*words).code == 0
        with grpc.insecure_channel(running.address) as channel:
            stub: Any = QueueServiceStub(channel)
            opening = pb.ConsumeRequest(open=pb.ConsumeOpen(queue="counted", consumer="billing", credits=1))
            assert next(stub.Consume(iter([opening]))).opened.epoch
        wait_until(lambda: letters(running), "a dead letter")
        yield running
        assert running.stop() == 0


def letters(cluster: Dev) -> list[str]:
    listed = cluster.wfctl("dlq", "ls", "counted", "-o", "json").json
    return [one["id"] for one in listed.get("deadLetters", [])]


def prepare(cluster: Dev, command: str) -> None:
    """See to it that what an example needs is there, whatever the one before has done to it."""
    if not command.startswith(ORDER):
        assert cluster.wfctl("start", "numbers").code == 0
    if command.startswith(("wfctl delete", "wfctl queue delete ")):
        assert cluster.wfctl("apply", "--detach", "-f", str(cluster.folder.parent / "numbers.json")).code == 0
    if command.startswith("wfctl queue delete "):
        assert cluster.wfctl("delete", "workflow", "numbers").code == 0


def start(cluster: Dev, command: str) -> subprocess.Popen[str]:
    """Start an example in a shell, in the folder where its files are."""
    if "1764038400000-0" in command:
        command = command.replace("1764038400000-0", wait_until(lambda: letters(cluster), "a dead letter")[0])
    if command.startswith("eval") and any(shell in command for shell in OTHER_SHELLS):
        command = command.removeprefix('eval "$(').removesuffix(')"')
    env = {
        **environment(),
        "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
        "HOME": str(cluster.folder.parent / "home"),
        "XDG_CONFIG_HOME": str(cluster.folder.parent / "home" / ".config"),
        **({} if command.startswith("wfctl context") else {"WF_ADDRESS": cluster.address}),
        "WF_PORT": "0",
        "WF_HTTP_PORT": "0",
    }
    return subprocess.Popen(
        ["bash", "-euc", command.replace("host-1", "dev-1")],
        env=env,
        cwd=cluster.folder.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


ORDERED: Final = sorted(EXAMPLES, key=rank)


@pytest.mark.parametrize("command", ORDERED)
def test_an_example_of_the_reference_works(cluster: Dev, command: str) -> None:
    prepare(cluster, command)
    with start(cluster, command) as program:
        try:
            out, err = program.communicate(timeout=3 if command.startswith(ENDLESS) else 60)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGINT)  # as Ctrl-C does
            out, err = program.communicate(timeout=_GONE)
    said = f"{out}{err}"
    if command in REFUSED:
        assert (program.returncode, REFUSED[command] in err) == (1, True), said
    else:
        assert program.returncode in ((0, 130) if command.startswith(ENDLESS) else (0,)), said
    assert "Traceback" not in err
