from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from treadle.errors import ConfigError
from treadle_agent.__main__ import main
from treadle_agent.config import load_config

SECRET = "redis://:hunter2@example.org"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TREADLE_AGENT_REDIS", raising=False)


def test_flags_go_over_the_environment_and_that_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('name = "file"\nstate_dir = "/file"\nlog_level = "debug"\n[slots]\nthread = 7\n')
    monkeypatch.setenv("TREADLE_AGENT_NAME", "environment")
    monkeypatch.setenv("TREADLE_AGENT_STATE_DIR", "/environment")

    config = load_config(file, {"name": "flag"})

    assert (config.name, str(config.state_dir), config.log_level) == ("flag", "/environment", "debug")
    assert (config.slots.thread, config.slots.asyncio) == (7, 10_000)


@pytest.mark.parametrize(
    ("text", "expected"), [("a:1, b:2", ["a:1", "b:2"]), ('["a:1"]', ["a:1"])], ids=["commas", "json"]
)
def test_lists_in_the_environment_are_commas_or_json(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: list[str]
) -> None:
    monkeypatch.setenv("TREADLE_AGENT_CONTROLLERS", text)

    assert load_config(None, {}).controllers == expected


def test_labels_are_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_AGENT_LABELS", "zone=a,disk=ssd")

    assert load_config(None, {}).labels == {"zone": "a", "disk": "ssd"}


def test_paths_of_node_modules_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(None, {"nodes": ["mine.py", "package.nodes"]})

    assert config.nodes == [str(tmp_path / "mine.py"), "package.nodes"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"name": "a b"}, "name"),
        ({"log_level": "loud"}, "log_level"),
        ({"slots": {"thread": -1}}, "slots.thread"),
        ({"slots": {"thread": 99_999}}, "slots.thread"),
        ({"contollers": ["a"]}, "did you mean controllers?"),
        ({"cert": "a"}, "cert and key belong together"),
        ({"cert": "a", "key": "b"}, "cert needs cacert"),
        ({"stop_deadline_s": 1.0}, "farewell_s cannot be longer"),
        ({"labels": "zone"}, "key=value"),
        ({"redis": SECRET}, "TREADLE_AGENT_REDIS"),
    ],
)
def test_a_bad_value_is_named(flags: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, flags)

    assert expected in caught.value.message
    assert "hunter2" not in caught.value.message


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load_config(file, {})
    file.write_text("name = [")
    with pytest.raises(ConfigError, match=r"agent\.toml"):
        load_config(file, {})


def test_a_password_is_not_in_what_is_shown_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_AGENT_REDIS", SECRET)
    config = load_config(None, {})

    assert config.redis.get_secret_value() == SECRET
    assert "hunter2" not in repr(config)


def test_check_config_says_whether_it_is_good() -> None:
    good = CliRunner().invoke(main, ["--check-config", "--name", "a", "--label", "zone=a", "--slots-thread", "3"])
    bad = CliRunner().invoke(main, ["--check-config", "--slots-thread", "-3"])

    assert (good.exit_code, bad.exit_code) == (0, 2)
    assert "slots.thread" in bad.output
