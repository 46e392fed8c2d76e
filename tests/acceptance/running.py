"""Running wfctl as a user does: `wfctl dev` as a process of its own, and other verbs against it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from wfctl.__main__ import run

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / "deploy" / "workflows"
MARK = "TREADLE_TEST_MARK"
PATIENCE_S = 40.0
_TICK = threading.Event()
T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = PATIENCE_S) -> T:
    """Return the first true value of a condition; fail with what was waited for when the time is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g}s: {what}")
        _TICK.wait(0.02)


@dataclass(frozen=True)
class Ran:
    """What a run of wfctl, or of another of our programs, came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def wfctl(*argv: str, address: str, stdin: str = "") -> Ran:
    """Run one command in this process, which is quicker than in one of its own and otherwise the same."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.stdin = sys.stdin, io.StringIO(stdin)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = run(["--address", address, *argv])
    finally:
        sys.stdin = before
    assert "Traceback" not in err.getvalue(), err.getvalue()
    return Ran(code, out.getvalue(), err.getvalue())


def program(folder: Path, *command: str) -> Ran:
    """Run `python -m` with one of our programs in a folder, until it ends."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=environment(),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def environment() -> dict[str, str]:
    """Return an environment in which wfctl, and the daemons that it starts, find this checkout and nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WF_", "TREADLE_"))}
    return {
        **kept,
        "PYTHONPATH": f"{ROOT / 'controller'}:{ROOT / 'agent'}",
        "XDG_CONFIG_HOME": "/nonexistent",
        "PYTHONDONTWRITEBYTECODE": "",
    }


def marked(mark: str) -> list[int]:
    """Return the processes that carry a mark in their environment: descendants, however detached."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes() and _alive(folder):
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue  # it ended while we looked
    return found


def _alive(folder: Path) -> bool:
    return (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z"


def command_of(pid: int) -> str:
    """Return the command line of a process, "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@dataclass
class Dev:
    """One `wfctl dev` on free ports, in a folder of its own, its processes marked."""

    folder: Path
    arguments: Sequence[str] = ()
    env: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> Dev:
        """Start it; its output goes to files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        link = self.folder / "deploy"
        if not link.exists():
            link.symlink_to(ROOT / "deploy")
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wfctl", "dev", "--port", "0", "--http-port", "0", *self.arguments],
                env={**environment(), MARK: self.mark, **self.env},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return self

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def address(self) -> str:
        """Where its controller listens, once it is ready."""
        found = wait_until(lambda: re.search(r"ready after .*: gRPC (\S+),", self.err) or self._ended(), "dev is ready")
        assert not isinstance(found, bool), self.err
        return found[1]

    def wfctl(self, *argv: str, stdin: str = "") -> Ran:
        """Run a verb against it."""
        return wfctl(*argv, address=self.address, stdin=stdin)

    def loop(self, name: str) -> Any:
        """Return one loop as its API message in JSON."""
        listed = self.wfctl("get", "loops", name, "-o", "json").json["loops"]
        assert len(listed) == 1, listed
        return listed[0]

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to wfctl and its process group, as a terminal does."""
        os.killpg(self.pid, number)

    def wait(self, timeout_s: float = 90.0) -> int:
        """Wait for its end and return the exit code; nothing that it started may be left."""
        assert self.process is not None
        code = self.process.wait(timeout_s)
        left = {pid: command_of(pid) for pid in marked(self.mark)}
        assert not left, f"left behind: {left}\n{self.err}"
        assert "Traceback" not in self.out + self.err, self.out + self.err
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it and return the exit code."""
        self.kill(number)
        return self.wait()

    def clean_up(self) -> None:
        """End whatever is left, after a test that failed."""
        for pid in marked(self.mark):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process is not None:
            self.process.wait()

    def _ended(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None


@contextmanager
def dev(folder: Path, *arguments: str, **env: str) -> Iterator[Dev]:
    """Run `wfctl dev` for the length of a block; whatever is left after it is ended."""
    running = Dev(folder, arguments, env)
    try:
        yield running.start()
    finally:
        running.clean_up()


def figures(text: str) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """Return the figures of loops and of queues that a `dev` printed at its end."""
    found: dict[str, dict[str, dict[str, int]]] = {"loop": {}, "queue": {}}
    for kind, name, rest in re.findall(r"^(loop|queue) (\S+) ((?:\w+=\d+ ?)+)$", text, re.MULTILINE):
        found[kind][name] = {key: int(value) for key, value in (pair.split("=") for pair in rest.split())}
    return found["loop"], found["queue"]
