from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.deploy.service import Service
from tests.integration.deploy.site import ROOT, Site
from tests.integration.deploy.unit_file import UnitFile
from tests.require import Require

PYTHONS = ("/usr/bin/python3", "/usr/local/bin/python3")
SYSTEM_PROGRAMS = ("systemd-analyze", "systemd-sysusers", "systemd-tmpfiles")


def is_fit(python: str) -> bool:
    """Whether the services could run on it."""
    asked = "import os, sys; assert sys.version_info >= (3, 11); print(os.path.realpath(sys.executable))"
    try:
        path = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    return not path.startswith(("/root/", "/home/"))


@pytest.fixture(scope="session")
def systemd(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.rootpath / "deploy" / "systemd"


@pytest.fixture(scope="session")
def checkout(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what is installed, which stays what it is while somebody edits the original."""
    original, copy = pytestconfig.rootpath, tmp_path_factory.mktemp("checkout")
    for name in ("agent", "controller", "deploy/systemd"):
        shutil.copytree(original / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "uv.lock", "LICENSE"):
        shutil.copy(original / name, copy / name)
    return copy


@pytest.fixture(scope="session")
def install(
    pytestconfig: pytest.Config, checkout: Path, require: Require
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return what runs install.sh for a root folder."""
    for program in SYSTEM_PROGRAMS:
        require.program(program)
    python = next((path for path in PYTHONS if is_fit(path)), None)
    require(python, f"Python 3.11 or newer as one of {', '.join(PYTHONS)}, outside of /root and /home")

    uv = str(pytestconfig.rootpath / ".venv" / "bin" / "uv")

    def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        # Links to what is in uv's cache are quicker than copies.
        env = {"DESTDIR": str(root), "PYTHON": str(python), "UV": uv, "UV_LINK_MODE": "hardlink"}
        return subprocess.run(
            [checkout / "deploy" / "systemd" / "install.sh", *arguments],
            env=os.environ | env,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    return run


@pytest.fixture(scope="session")
def installed(
    install: Callable[..., subprocess.CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a root folder in which treadle is installed."""
    root = tmp_path_factory.mktemp("root")
    done = install(root, "install")
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def bare_site(
    request: pytest.FixtureRequest,
    installed: Path,
    checkout: Path,
    require: Require,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """The hosts that a module names as HOSTS, as network namespaces on which nobody has set anything up."""
    require.root()
    for program in ("ip", "nsenter", "unshare", "redis-server", "redis-cli"):
        require.program(program)
    python = next(path for path in PYTHONS if is_fit(path))
    shutil.copytree(ROOT / "deploy" / "workflows", checkout / "deploy" / "workflows", dirs_exist_ok=True)
    folder = tmp_path_factory.mktemp("site")
    folder.parent.chmod(0o711)
    with Site(request.module.HOSTS, folder, installed / "opt" / "treadle", checkout, python) as site:
        yield site


@pytest.fixture
def service(systemd: Path, installed: Path, tmp_path: Path, require: Require) -> Iterator[Callable[..., Service]]:
    """Return what makes services: `service("treadle-agent@.service", "web-1")`."""
    require.root()
    made: list[Service] = []

    def make(name: str, instance: str = "") -> Service:
        unit = UnitFile(systemd / name, instance)
        # A user that nobody is.
        made.append(Service(unit, installed, tmp_path / f"service{len(made)}", 61_500 + len(made)))
        return made[-1]

    yield make
    for one in reversed(made):
        print(one.out, one.err)  # noqa: T201 - shown by pytest when a test fails
        one.clean_up()
