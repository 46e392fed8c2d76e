"""The units' command lines, run as the units say, as far as that goes without systemd."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.running import WORKFLOWS, wait_until, wfctl
from tests.integration.deploy.service import Service
from tests.servers import redis_server


@pytest.fixture
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


def configured(example: Path, **settings: object) -> str:
    """Return an example configuration with some of its keys set."""
    text = example.read_text()
    for key, value in settings.items():
        text, found = re.subn(rf"^#?{key} = .*$", f"{key} = {json.dumps(value)}", text, flags=re.MULTILINE)
        assert found == 1, key
    return text


@pytest.fixture
def controller(service: Callable[..., Service], systemd: Path, redis_url: str) -> Service:
    controller = service("treadle-controller.service")
    settings = {"listen": "127.0.0.1:0", "http_listen": "127.0.0.1:0", "redis": redis_url}
    controller.give("controller.toml", configured(systemd / "controller.toml", **settings))
    controller.start()
    return controller


@pytest.fixture
def address(controller: Service) -> str:
    controller.hear("READY=1")
    found: str = json.loads(controller.out)["grpc"]
    return found


@pytest.fixture
def agent(service: Callable[..., Service], systemd: Path, redis_url: str, address: str) -> Service:
    agent = service("treadle-agent@.service", "web-1")
    agent.give("agent.toml", configured(systemd / "agent.toml", controllers=[address], redis=redis_url))
    agent.start()
    return agent


def stored(database: Path) -> int:
    """Return how many windows host-metrics has stored."""
    if not database.exists():
        return 0
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM host_metrics").fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # not made yet


PROBE = """
import ctypes, errno, json, mmap, os, socket

def refusal(attempt):
    try:
        attempt()
    except OSError as exc:
        return errno.errorcode[exc.errno]
    return None

libc = ctypes.CDLL(None, use_errno=True)

def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

print(json.dumps({
    "writes to /etc": refusal(lambda: open("/etc/treadle-probe", "w")),
    "writes to its programs": refusal(lambda: open("/opt/treadle/probe", "w")),
    "writes to its state": refusal(lambda: open("probe", "w")),
    "writes to /tmp": refusal(lambda: open("/tmp/probe", "w")),
    "sees homes": os.listdir("/root") + os.listdir("/home"),
    "sees other processes": os.path.exists("/proc/1"),
    "sees the machine": os.path.exists("/proc/meminfo"),
    "packet socket": refusal(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "chroot": refusal(lambda: os.chroot("/")),
    "mount": refusal(lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None)),
    "new namespaces": refusal(lambda: call("unshare", 0x10000000)),
    "real time": refusal(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))),
    "written and executed memory": refusal(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)),
    "cores": __import__("resource").getrlimit(4),
}))
"""


@pytest.mark.parametrize(
    ("name", "instance"), [("treadle-controller.service", ""), ("treadle-agent@.service", "web-1")]
)
def test_what_a_unit_forbids_is_refused(service: Callable[..., Service], name: str, instance: str) -> None:
    probe = service(name, instance)
    probe.start(["/opt/treadle/current/bin/python", "-I", "-c", PROBE])

    assert probe.wait() == 0, probe.err
    assert json.loads(probe.out) == {
        "writes to /etc": "EROFS",
        "writes to its programs": "EROFS",
        "writes to its state": None,
        "writes to /tmp": None,
        "sees homes": [],
        "sees other processes": False,
        "sees the machine": True,
        "packet socket": "EAFNOSUPPORT",
        "chroot": "EPERM",
        "mount": "EPERM",
        "new namespaces": "EPERM",
        "real time": "EPERM",
        "written and executed memory": "EACCES",
        "cores": [0, 0],
    }


def test_a_wrong_configuration_ends_with_the_code_after_which_systemd_does_not_restart(
    service: Callable[..., Service],
) -> None:
    for name, instance, file in (
        ("treadle-controller.service", "", "controller.toml"),
        ("treadle-agent@.service", "web-1", "agent.toml"),
    ):
        wrong = service(name, instance)
        wrong.give(file, "slot = 1\n")
        wrong.start()

        assert str(wrong.wait()) == wrong.unit.one("RestartPreventExitStatus")
        assert "slot" in wrong.err
        assert "Traceback" not in wrong.err


def test_a_workflow_runs_under_the_restrictions_of_the_units(controller: Service, agent: Service, address: str) -> None:
    agent.hear("READY=1")
    # Ready to run loops is not yet known to the controller: it has to hear which node types there are.
    wait_until(lambda: "web-1" in wfctl("agent", "ls", address=address).out, "the controller knows the agent")

    applied = wfctl("apply", "-f", str(WORKFLOWS / "host-metrics.json"), address=address)

    assert applied.code == 0, applied.err + agent.err
    database = agent.state / "treadle-data" / "host-metrics.db"
    wait_until(lambda: stored(database) >= 2, "two windows are stored")
    assert database.stat().st_uid == agent.user
    # The watchdog is fed in good time, before anything is stopped.
    for one in (controller, agent):
        fed = [one.hear("WATCHDOG=1", times) for times in (1, 2)]
        assert fed[1] - fed[0] < one.unit.seconds("WatchdogSec") / 2

    code, took_s = agent.stop()

    assert code == 0, agent.err
    assert took_s < 20.0, "the deadline of the configuration, well inside TimeoutStopSec"
    agent.hear("STOPPING=1", timeout_s=1.0)
    wait_until(lambda: not agent.processes(), "no process of the agent is left")
    assert "is killed" not in agent.err, "each loop finished by itself"
    assert "Traceback" not in agent.err + controller.err
    code, took_s = controller.stop()
    assert code == 0, controller.err
    assert took_s < 5.0
    controller.hear("STOPPING=1", timeout_s=1.0)
