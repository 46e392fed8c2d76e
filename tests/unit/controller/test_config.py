"""The configuration: flags over the environment over the file, and nothing secret in what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle.errors import ConfigError
from treadle_controller.__main__ import main
from treadle_controller.config import load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "controller.toml"
    path.write_text('listen = "127.0.0.1:1"\nhttp_listen = "127.0.0.1:2"\nname = "file"\n')
    return path


def test_flags_go_over_the_environment_and_that_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_CONTROLLER_NAME", "environment")
    monkeypatch.setenv("TREADLE_CONTROLLER_HTTP_LISTEN", "127.0.0.1:3")

    config = load(file, {"http_listen": "127.0.0.1:4"})

    assert (config.listen, config.name, config.http_listen) == ("127.0.0.1:1", "environment", "127.0.0.1:4")


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_CONTROLLER_REDIS", "redis://:hunter2@somewhere")

    assert "hunter2" not in repr(load(None, {}))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('listne = "127.0.0.1:1"', "listne"),
        ('listen = "7420"', "HOST:PORT"),
        ('store = "mysql://x"', "sqlite or postgresql"),
        ('tls_cert = "a.pem"', "given together"),
        ("redis_timeout_s = 0", "redis_timeout_s"),
        ("listen = ", "can't be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "controller.toml"
    path.write_text(line + "\n")

    with pytest.raises(ConfigError, match=says):
        load(path, {})


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml"):
        load(tmp_path / "gone.toml", {})


def test_check_config_says_whether_it_is_good(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("port = 1\n")

    assert main(["--config", str(file), "--check-config"]) == 0
    assert main(["--config", str(bad), "--check-config"]) == 2
    assert "good" in capsys.readouterr().out
