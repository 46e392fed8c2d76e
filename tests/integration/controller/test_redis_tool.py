"""`treadle-controller redis` prepares a server: users that can do what they must, and the functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers import TestServer
from treadle.queues import library
from treadle_controller.__main__ import main


def test_the_printed_users_can_log_in_and_do_no_more_than_they_must(
    valkey: TestServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    assert main(["redis", "acl", "--namespace", "shop", "--controller-password-file", str(secret)]) == 0
    printed = capsys.readouterr().out

    assert "sesame" not in printed
    with redis.Redis.from_url(valkey.url) as client:
        for line in printed.splitlines():
            client.execute_command(*line.split())
        agent: Any = client.acl_getuser("treadle-agent-shop")
        assert agent["passwords"] == []
    url = f"redis://treadle-controller-shop:open%20sesame@127.0.0.1:{valkey.port}"
    monkeypatch.setenv("TREADLE_CONTROLLER_REDIS", url)
    monkeypatch.setenv("TREADLE_CONTROLLER_NAMESPACE", "shop")
    assert main(["redis", "functions", "--replace"]) == 0
    assert main(["redis", "functions"]) == 0
    ours = library.version_of(library.source()).number
    assert f"the server holds version {ours}, the same as" in capsys.readouterr().out


def test_bad_names_and_files_are_usage_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["redis", "acl", "--namespace", "a b"]) == 2
    assert main(["redis", "acl", "--agent-password-file", str(tmp_path / "none")]) == 2
    assert "can't be read" in capsys.readouterr().err
