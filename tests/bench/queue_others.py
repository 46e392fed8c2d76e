"""The peers of the full run: other people's queues on the same server, each in an environment of its own.

Their programs are in `peers/`, their packages in `.peers` at the root, installed once. Two things are measured of each:

- messages a second from the producer's first call to the last message handled, both running at the same time;
- what a kill -9 of the worker costs when half of the messages have gone on: how many never arrive at the next
  queue and how many arrive there twice, when another worker goes on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import redis

T = TypeVar("T")
ROOT: Final = Path(__file__).resolve().parents[2]
ENVIRONMENTS: Final = ROOT / ".peers"
PROGRAMS: Final = Path(__file__).parent / "peers"
KILLED: Final = 6_000  # messages of the run with the kill
HALF_WAY: Final = KILLED // 2 + 137  # not where a batch of a thousand ends
WARM: Final = 10
PATIENCE_S: Final = 30.0  # without any progress
CALM_S: Final = 15.0  # three times what peers wait before they take over a message
AT_MOST_S: Final = 40.0  # altogether: some take minutes, a message every few seconds
SETTLED_S: Final = 7.0  # the same once all have come: another copy may be on its way
FAILURES: Final = (OSError, RuntimeError, subprocess.CalledProcessError)  # a peer that stands still is a TimeoutError


class Peer(NamedTuple):
    """One peer, its packages, and how many messages are enough to measure it."""

    name: str
    packages: tuple[str, ...] = ()  # none: this project's own environment
    messages: int = 10_000
    arguments: tuple[str, ...] = ()  # of its producer
    program: str = ""  # when it is not named like the peer


class Toll(NamedTuple):
    """What a kill cost."""

    lost: int
    doubled: int
    moving: bool = False  # there was still a message now and then when the time was over

    def __str__(self) -> str:
        lost = f"not back after {AT_MOST_S:.0f} s" if self.lost and self.moving else "lost"
        return f"{self.lost} {lost}, {self.doubled} doubled"


_QUICKER: Final = ("hiredis", "uvloop")
_BULLMQ: Final = ("bullmq@6.7.0", "ioredis@5")
PEERS: Final = (
    Peer("celery", ("celery[redis]==5.7.0", *_QUICKER), 5_000),
    Peer("dramatiq", ("dramatiq[redis]==2.2.1", *_QUICKER)),
    Peer("arq", ("arq==0.28.0", *_QUICKER)),
    Peer("saq", ("saq[redis]==0.26.4", "typing_extensions", *_QUICKER)),
    Peer("taskiq", ("taskiq-redis==1.2.4", *_QUICKER)),
    Peer("bullmq", _BULLMQ, 40_000),
    Peer("bullmq_addbulk", _BULLMQ, 40_000, ("bulk",), "bullmq"),
    Peer("streams", (), 500_000),
)


def named(name: str) -> Peer:
    """Return a peer."""
    return next(peer for peer in PEERS if peer.name == name)


def command(peer: Peer) -> list[str]:
    """Return the program of a peer, its environment made if need be. Raises OSError or CalledProcessError."""
    program = peer.program or peer.name
    if peer.packages is _BULLMQ:
        _install_bullmq()
        return ["node", str(PROGRAMS / f"peer_{program}.js")]
    python = sys.executable if not peer.packages else _install(program, peer.packages)
    return [python, str(PROGRAMS / f"peer_{program}.py")]


def _install(name: str, packages: tuple[str, ...]) -> str:
    folder = ENVIRONMENTS / name
    python, stamp = folder / "bin" / "python", folder / "installed"
    if not stamp.exists() or stamp.read_text("utf-8") != " ".join(packages):
        venv.create(folder, with_pip=True, clear=True, symlinks=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
        stamp.write_text(" ".join(packages), "utf-8")
    return str(python)


def _install_bullmq() -> None:
    if shutil.which("node") is None:
        raise FileNotFoundError("node")
    if not all((ENVIRONMENTS / "node_modules" / each.split("@")[0]).exists() for each in _BULLMQ):
        ENVIRONMENTS.mkdir(exist_ok=True)
        install = ["npm", "install", "--no-save", "--silent", "--prefix", str(ENVIRONMENTS), *_BULLMQ]
        subprocess.run(install, check=True, cwd=ENVIRONMENTS)


@contextlib.contextmanager
def _worker(peer: Peer, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    log, work = subprocess.DEVNULL, [*command(peer), "work"]
    process = subprocess.Popen(work, env=environment, start_new_session=True, stdout=log, stderr=log)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment(url: str, notes: Path | None = None) -> dict[str, str]:
    more = {} if notes is None else {"PEER_NOTES": str(notes)}
    return {**os.environ, "PEER_URL": url, "NODE_PATH": str(ENVIRONMENTS / "node_modules"), **more}


def _producer(peer: Peer, count: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [*command(peer), "produce", str(count), *peer.arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    if process.stdout.readline().strip() != b"ready":
        process.kill()
        message = f"the producer of {peer.name} did not start"
        raise RuntimeError(message)
    return process


def _go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()


def _until(reached: Callable[[], bool], progress: Callable[[], object], what: str, pause_s: float = 0.002) -> None:
    """Wait until something is reached, for as long as there is progress."""
    seen, since = progress(), time.monotonic()
    while not reached():
        time.sleep(pause_s)
        now = progress()
        if now != seen:
            seen, since = now, time.monotonic()
        if time.monotonic() - since > PATIENCE_S:
            message = f"{what} stands still"
            raise TimeoutError(message)


def rate(peer: Peer, url: str) -> float:
    """Return messages per second."""
    redis.Redis.from_url(url).flushall()
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        notes.touch()
        environment = _environment(url, notes)

        def handled() -> int:
            return notes.stat().st_size // 8

        with _worker(peer, environment):
            _produce(peer, WARM, environment)
            _until(lambda: handled() >= WARM, handled, peer.name)
            producer = _producer(peer, peer.messages, environment)
            began = time.monotonic()
            _go(producer)
            _until(lambda: handled() >= WARM + peer.messages, handled, peer.name)
            took = time.monotonic() - began
            producer.wait()
    return peer.messages / took


def killed(peer: Peer, url: str) -> Toll:
    """Return how many messages were lost and how many doubled by a kill of the worker at half way."""
    client: Any = redis.Redis.from_url(url)
    client.flushall()
    environment = _environment(url)
    _produce(peer, KILLED, environment)

    def moved() -> int:
        return int(client.llen("out"))

    def arrived() -> Toll:
        return tally((n for n in map(int, client.lrange("out", 0, -1)) if n < KILLED), KILLED)

    def calm_for(calm_s: float, until: float) -> bool:
        since, before = time.monotonic(), moved()
        while time.monotonic() - since < (calm_s if arrived().lost else SETTLED_S):
            time.sleep(0.2)
            if moved() != before:
                since, before = time.monotonic(), moved()
            if time.monotonic() > until:
                return False
        return True

    with _worker(peer, environment):
        _until(lambda: moved() >= HALF_WAY, moved, peer.name)
    with _worker(peer, environment):
        until = time.monotonic() + AT_MOST_S
        calm = calm_for(SETTLED_S, until)
        if arrived().lost:  # some look after a dead worker's messages only when new ones come
            _produce(peer, WARM, {**environment, "PEER_FIRST": str(KILLED)})
            calm = calm_for(CALM_S, until + CALM_S)
    return arrived()._replace(moving=not calm)


def _produce(peer: Peer, count: int, environment: dict[str, str]) -> None:
    producer = _producer(peer, count, environment)
    _go(producer)
    producer.wait()


def rates(url: str) -> dict[str, float]:
    """Return messages per second of every peer that this machine can run; says which it can't."""
    return _of_each(PEERS, lambda peer: rate(peer, url))


def kills(url: str) -> dict[str, Toll]:
    """Return lost and doubled messages of every peer that this machine can run; says which it can't."""
    # Another producer changes nothing about the worker.
    return _of_each((peer for peer in PEERS if not peer.arguments), lambda peer: killed(peer, url))


def _of_each(peers: Iterable[Peer], measure: Callable[[Peer], T]) -> dict[str, T]:
    found = {}
    for peer in peers:
        try:
            found[peer.name] = measure(peer)
        except FAILURES as exc:
            print(f"{peer.name} is left out: {exc}", file=sys.stderr)
    return found


def tally(numbers: Iterable[int], count: int) -> Toll:
    """Return how many of the messages never came, and how many came once too often."""
    seen = Counter(numbers)
    return Toll(count - len(seen), sum(seen.values()) - len(seen))
