"""Stands in for systemctl on a host without systemd: starts a unit's command with its user, environment, credentials.

Run as `systemctl.py VERB [OPTION...] UNIT`. The restrictions of the units are another test's; what a unit is given is
here: LoadCredential= of files and folders, StateDirectory=, Environment=, and readiness by Type=notify.
"""

from __future__ import annotations

import os
import pwd
import select
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from tests.integration.deploy.unit_file import UnitFile

UNITS = Path("/etc/systemd/system")
RUN = Path("/run")
START_S = 60.0


def main() -> int:
    """Carry out a verb; returns the exit code."""
    os.umask(0o022)  # systemd's, whatever that of whoever calls is
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    verb, units = words[0], words[1:]
    if verb == "list-units":
        for pid in sorted(RUN.glob(f"{units[0]}.service.pid")):
            print(pid.name.removesuffix(".pid"), "loaded active running")  # noqa: T201 - what was asked for
    for unit in units if verb in ("enable", "start", "restart", "try-restart", "stop") else ():
        name, at, rest = unit.removesuffix(".service").partition("@")
        file = UnitFile(UNITS / f"{name}{at}.service", rest)
        running = (RUN / f"{file.name}.pid").exists()
        if running and verb in ("restart", "try-restart", "stop"):
            stop(file)
        if verb in ("start", "restart") or "--now" in sys.argv or (running and verb == "try-restart"):
            start(file)
    return 0


def start(unit: UnitFile) -> None:
    user = pwd.getpwnam(unit.one("User"))
    state = Path("/var/lib", unit.one("StateDirectory"))
    credentials = Path("/run/credentials", unit.name)
    for folder in (state, credentials):
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, user.pw_uid, user.pw_gid)
    for line in unit.all("LoadCredential"):
        name, _, source = line.partition(":")
        give(Path(source), credentials, name, user.pw_uid)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        place = Path("/run", f"{unit.name}.notify")
        place.unlink(missing_ok=True)
        told.bind(str(place))
        place.chmod(0o666)
        told.settimeout(START_S)
        with Path("/var/log", f"{unit.name}.log").open("ab") as log:
            process = subprocess.Popen(
                unit.command(),
                env={**unit.environment(), "NOTIFY_SOCKET": str(place)},
                cwd=state,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=user.pw_uid,
                group=user.pw_gid,
                extra_groups=[],
            )
        Path("/run", f"{unit.name}.pid").write_text(str(process.pid))
        while "READY=1" not in told.recv(4096).decode().split("\n"):
            if process.poll() is not None:
                raise SystemExit(f"{unit.name} has ended with {process.returncode}")


def stop(unit: UnitFile) -> None:
    pid = int(Path("/run", f"{unit.name}.pid").read_text())
    handle = os.pidfd_open(pid)
    os.kill(pid, 15)
    ended, _, _ = select.select([handle], [], [], unit.seconds("TimeoutStopSec"))
    os.close(handle)
    (RUN / f"{unit.name}.pid").unlink()
    if not ended:
        raise SystemExit(f"{unit.name} does not end")


def give(source: Path, folder: Path, name: str, user: int) -> None:
    """Copy a credential, or all of a folder, as the user's own."""
    files = {name: source} if source.is_file() else {f"{name}_{one.name}": one for one in source.iterdir()}
    for given, file in files.items():
        (folder / given).unlink(missing_ok=True)
        shutil.copyfile(file, folder / given)
        (folder / given).chmod(0o400)
        os.chown(folder / given, user, user)


if __name__ == "__main__":
    sys.exit(main())
