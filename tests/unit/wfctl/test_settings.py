from __future__ import annotations

from pathlib import Path

import pytest

from wfctl.errors import BadUsage
from wfctl.settings import Settings, resolve


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text('current = "here"\n[contexts.here]\naddress = "127.0.0.1:1"\n[contexts.there]\nnamespace = "far"\n')
    return file


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    assert resolve({}, config=tmp_path / "none.toml") == Settings()


def test_a_flag_wins_over_the_current_context(config: Path) -> None:
    assert resolve({}, config=config).address == "127.0.0.1:1"
    assert resolve({"address": "127.0.0.1:2"}, config=config).address == "127.0.0.1:2"


def test_a_named_context_is_taken_instead_of_the_current_one(config: Path) -> None:
    found = resolve({"context": "there"}, config=config)

    assert (found.namespace, found.address) == ("far", Settings().address)


def test_an_unknown_context_is_refused_with_those_that_exist(config: Path) -> None:
    with pytest.raises(BadUsage, match=r"no context 'nowhere'.*here, there"):
        resolve({"context": "nowhere"}, config=config)


def test_a_misspelt_key_of_a_context_is_refused_with_the_nearest_one(config: Path) -> None:
    config.write_text('[contexts.x]\nadress = "a:1"\n')

    with pytest.raises(BadUsage, match="did you mean 'address'"):
        resolve({"context": "x"}, config=config)


def test_a_configuration_that_is_no_toml_is_refused_by_name(config: Path) -> None:
    config.write_text("= nothing")

    with pytest.raises(BadUsage, match=r"config\.toml can't be read"):
        resolve({}, config=config)


def test_a_token_is_not_sent_in_the_clear_to_another_machine(tmp_path: Path) -> None:
    given = {"token": "s3cret", "address": "cluster.example:7420"}

    with pytest.raises(BadUsage, match="--cacert") as caught:
        resolve(given, config=tmp_path / "none.toml")

    assert "s3cret" not in str(caught.value)


def test_a_token_is_not_shown() -> None:
    assert "s3cret" not in repr(Settings(token="s3cret"))
