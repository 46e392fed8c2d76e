"""A service as systemd would run it: its unit's command, user, environment, credentials, limits and notifications."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.integration.deploy.box import Spec
from tests.integration.deploy.unit_file import UnitFile

BOX = Path(__file__).with_name("box.py")


class Service:
    """One service of an installation below `root`, run by hand. `user` stands in for the unit's User."""

    def __init__(self, unit: UnitFile, root: Path, folder: Path, user: int) -> None:
        self.unit, self.root, self.user, self.folder = unit, root, user, folder
        self.state = folder / "state"
        self.said: list[tuple[float, str]] = []  # what it told systemd, and when (monotonic)
        self._run = folder / "run"
        self._process: subprocess.Popen[bytes] | None = None
        for place in (self.state, self._run / "credentials" / unit.name, self._run / "systemd"):
            place.mkdir(parents=True)
        os.chown(self.state, user, user)
        self._notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notifications.bind(str(self._run / "systemd" / "notify"))
        (self._run / "systemd" / "notify").chmod(0o666)
        self._news = threading.Condition()
        self._listener = threading.Thread(target=self._listen, name=f"notifications of {unit.name}")
        self._listener.start()

    def give(self, name: str, text: str) -> None:
        """Hand a credential over, as LoadCredential= does."""
        assert any(line.split(":")[0] == name for line in self.unit.all("LoadCredential"))
        place = self._run / "credentials" / self.unit.name / name
        place.write_text(text)
        place.chmod(0o400)
        for path in (place, place.parent):
            os.chown(path, self.user, self.user)
        place.parent.chmod(0o500)

    def start(self, command: list[str] | None = None) -> None:
        """Start the unit's command, or another one in its place."""
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(BOX), json.dumps(self._spec(command or self.unit.command()))],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def hear(self, state: str, times: int = 1, timeout_s: float = 60.0) -> float:
        """Wait until it said a state so often; return when it did (monotonic)."""

        def heard() -> list[float]:
            return [at for at, text in self.said if state in text.split("\n")]

        with self._news:
            deadline = time.monotonic() + timeout_s
            while len(heard()) < times and not self._has_ended() and time.monotonic() < deadline:
                self._news.wait(0.1)
            assert time.monotonic() < deadline, f"{self.unit.name} has not said {state}\n{self.err}"
            assert len(heard()) >= times, f"{self.unit.name} has ended\n{self.err}"
            return heard()[times - 1]

    def stop(self) -> tuple[int, float]:
        """Stop it as systemd does (KillMode=mixed); return its exit code and how long that took, in seconds."""
        assert self._process is not None
        assert self.unit.one("KillMode") == "mixed"
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(self.unit.seconds("TimeoutStopSec"))
        return code, time.monotonic() - began

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for its end; return the exit code."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def processes(self) -> list[int]:
        """Return what still runs as its user."""
        return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if self._is_ours(entry)]

    def clean_up(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self._run / "systemd" / "notify"))
        self._listener.join()
        self._notifications.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _listen(self) -> None:
        while text := self._notifications.recv(4096).decode():
            with self._news:
                self.said.append((time.monotonic(), text))
                self._news.notify_all()

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _is_ours(self, entry: Path) -> bool:
        try:
            state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
            return entry.stat().st_uid == self.user and state != b"Z"
        except OSError:
            return False  # it ended while we looked

    def _spec(self, command: list[str]) -> Spec:
        unit = self.unit
        notify = {"NOTIFY_SOCKET": "/run/systemd/notify"}
        return Spec(
            command=command,
            environment=unit.environment() | notify,
            folder=unit.one("WorkingDirectory"),
            user=self.user,
            umask=int(unit.one("UMask"), 8),
            limits={key: int(unit.one(f"Limit{key}")) for key in ("NOFILE", "CORE")},
            shown={"/opt/treadle": str(self.root / "opt" / "treadle"), "/run": str(self._run)},
            written={f"/var/lib/{unit.one('StateDirectory')}": str(self.state)},
            system_calls=unit.system_calls(),
            families=unit.one("RestrictAddressFamilies").split(),
        )
