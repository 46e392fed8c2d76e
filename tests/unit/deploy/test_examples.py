from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from treadle_agent.__main__ import main as agent
from treadle_agent.config import AgentConfig
from treadle_controller.__main__ import main as controller
from treadle_controller.config import ControllerConfig

FILES = {"controller.toml": ControllerConfig, "agent.toml": AgentConfig}


@pytest.fixture(autouse=True)
def no_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS", "STORE", "LISTEN", "CONTROLLERS", "NAME", "NODES", "STATE_DIR"):
        for program in ("AGENT", "CONTROLLER"):
            monkeypatch.delenv(f"TREADLE_{program}_{name}", raising=False)


def check_config(file: Path) -> int:
    """Ask the daemon itself, as an operator does."""
    arguments = ["--check-config", "--config", str(file)]
    if file.name.startswith("controller"):
        return controller(arguments)
    return int(agent(arguments, standalone_mode=False) or 0)


@pytest.mark.parametrize("name", FILES)
def test_an_example_is_good_as_it_is_and_with_every_line_in_force(
    pytestconfig: pytest.Config, tmp_path: Path, name: str
) -> None:
    example = pytestconfig.rootpath / "deploy" / "systemd" / name
    in_force = tmp_path / name
    in_force.write_text(re.sub(r"^#(?=\w+ = )", "", example.read_text(), flags=re.MULTILINE))

    assert check_config(example) == 0
    assert check_config(in_force) == 0


@pytest.mark.parametrize(("name", "settings"), FILES.items())
def test_an_example_shows_every_key(pytestconfig: pytest.Config, name: str, settings: type[BaseSettings]) -> None:
    text = (pytestconfig.rootpath / "deploy" / "systemd" / name).read_text()
    shown = tomllib.loads(re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE))

    assert set(shown) == set(settings.model_fields)


@pytest.mark.parametrize(("name", "settings"), FILES.items())
def test_lines_out_of_force_show_the_defaults(
    pytestconfig: pytest.Config, name: str, settings: type[BaseSettings]
) -> None:
    text = (pytestconfig.rootpath / "deploy" / "systemd" / name).read_text()
    shown = tomllib.loads(re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE))
    plain = {key: field.default for key, field in settings.model_fields.items()}

    for key, value in shown.items():
        if isinstance(plain[key], int | float | str | bool):
            assert value == plain[key], key
