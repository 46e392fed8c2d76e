from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Install = Callable[..., "subprocess.CompletedProcess[str]"]
UNITS = ("treadle-controller.service", "treadle-agent@.service")


def picture(root: Path) -> dict[str, tuple[int, str]]:
    """Return the mode of everything below a folder, and what files and links hold."""
    found = {}
    for path in sorted(root.rglob("*")):
        held = str(path.readlink()) if path.is_symlink() else path.read_text("latin-1") if path.is_file() else ""
        found[str(path.relative_to(root))] = (path.lstat().st_mode, held)
    return found


def prepared(installed: Path, root: Path) -> Path:
    """Return a folder that has the programs of an installation already, by links, and nothing else of it."""
    releases = root / "opt" / "treadle" / "releases"
    releases.mkdir(parents=True)
    (real,) = (installed / "opt" / "treadle" / "releases").iterdir()
    (releases / real.name).symlink_to(real)
    return root


def test_the_installed_programs_start(installed: Path) -> None:
    for program in ("treadle-controller", "treadle-agent"):
        command = [str(installed / "opt" / "treadle" / "current" / "bin" / program), "--check-config"]
        done = subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True)
        assert done.stdout == "the configuration is good\n"
    assert (installed / "usr" / "local" / "bin" / "wfctl").readlink() == Path("/opt/treadle/current/bin/wfctl")


def test_installing_again_changes_nothing_and_keeps_the_configuration(
    install: Install, installed: Path, tmp_path: Path
) -> None:
    root = prepared(installed, tmp_path)
    assert install(root, "install").returncode == 0
    (root / "etc" / "treadle" / "agent.toml").write_text('labels = { zone = "a" }\n')
    before = picture(root)

    again = install(root, "install")

    assert again.returncode == 0, again.stderr
    assert "in use already" in again.stdout
    assert picture(root) == before


def test_uninstall_leaves_configuration_and_state_and_purge_leaves_nothing(
    install: Install, installed: Path, tmp_path: Path
) -> None:
    root = prepared(installed, tmp_path)
    (root / "etc" / "systemd" / "system").mkdir(parents=True)
    (root / "etc" / "systemd" / "system" / "other.service").write_text("[Service]\n")
    (root / "var" / "lib" / "treadle").mkdir(parents=True)
    (root / "var" / "lib" / "treadle" / "controller.db").write_text("kept")
    assert install(root, "install").returncode == 0

    assert install(root, "uninstall").returncode == 0

    assert (root / "etc" / "treadle" / "controller.toml").exists()
    assert (root / "var" / "lib" / "treadle" / "controller.db").read_text() == "kept"
    assert install(root, "uninstall", "--purge").returncode == 0, "twice does no harm"
    left = {path for path, (_, held) in picture(root).items() if held or "treadle" in path}
    accounts = {"etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc/.pwd.lock"}
    assert left - accounts == {"etc/systemd/system/other.service"}


def test_rollback_goes_to_the_version_before_and_forward_again(
    install: Install, installed: Path, tmp_path: Path
) -> None:
    root = prepared(installed, tmp_path)
    treadle = root / "opt" / "treadle"
    for name in ("0.0.1-older", "0.0.2-old"):
        (treadle / "releases" / name).mkdir()
    (treadle / "current").symlink_to("releases/0.0.2-old")

    assert install(root, "install").returncode == 0

    new = (treadle / "current").readlink()
    assert {path.name for path in (treadle / "releases").iterdir()} == {new.name, "0.0.2-old"}
    for expected in (Path("releases/0.0.2-old"), new):
        assert install(root, "rollback").returncode == 0
        assert (treadle / "current").readlink() == expected


def test_a_version_that_still_runs_is_kept(install: Install, installed: Path, tmp_path: Path) -> None:
    root = prepared(installed, tmp_path)
    releases = root / "opt" / "treadle" / "releases"
    for name in ("0.0.0-runs", "0.0.1-idle"):
        (releases / name).mkdir()
    with subprocess.Popen(["/opt/treadle/releases/0.0.0-runs/bin/python", "60"], executable="/bin/sleep") as running:
        try:
            assert install(root, "install").returncode == 0
        finally:
            running.kill()

    assert (releases / "0.0.0-runs").exists()
    assert not (releases / "0.0.1-idle").exists()


def test_configuration_is_for_root_only_and_users_are_made(installed: Path) -> None:
    for name in ("controller.toml", "agent.toml"):
        assert (installed / "etc" / "treadle" / name).stat().st_mode & 0o777 == 0o600
    for name in ("controller", "agent"):
        assert (installed / "etc" / "treadle" / "tls" / name).stat().st_mode & 0o777 == 0o700
    users = (installed / "etc" / "passwd").read_text()
    assert "treadle-controller:" in users
    assert "treadle-agent:" in users


@pytest.mark.parametrize("arguments", [(), ("instal",), ("install", "--purge"), ("uninstall", "--restart")])
def test_wrong_arguments_are_answered_with_what_there_is(
    install: Install, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = install(tmp_path, *arguments)

    assert done.returncode == 2
    assert "install.sh rollback" in done.stderr
    assert picture(tmp_path) == {}


def test_systemd_finds_nothing_wrong_with_the_units(installed: Path, systemd: Path, tmp_path: Path) -> None:
    # It looks for the programs where the units say, which is not where this machine has them.
    for unit in UNITS:
        text = (systemd / unit).read_text().replace("/opt/treadle/", f"{installed}/opt/treadle/")
        (tmp_path / unit).write_text(text)

    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", *(tmp_path / unit for unit in UNITS)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.requires("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_exposed_at_most_1_7(systemd: Path, unit: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=17", systemd / unit],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "ProcSubset=" not in (systemd / unit).read_text().replace("ProcSubset=pid is left out", "")
