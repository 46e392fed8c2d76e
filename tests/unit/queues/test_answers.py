"""Error replies of servers, and what helps against them; judgements about servers and failpoints."""

from __future__ import annotations

import pytest

from treadle import failpoints
from treadle.queues.answers import Remedy, remedy
from treadle.queues.check import report


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", Remedy.OUT_OF_MEMORY),
        ("LOADING Redis is loading the dataset in memory", Remedy.WAIT),
        ("BUSY Redis is busy running a script.", Remedy.WAIT),
        ("ERR Function not found", Remedy.WAIT),
        ("READONLY You can't write against a read only replica.", Remedy.RELOCATE),
        ("MOVED 1234 127.0.0.1:6380", Remedy.RELOCATE),
        ("ERR wrong number of arguments", Remedy.NONE),
        ("NOPERM", Remedy.NONE),
    ],
)
def test_an_error_reply_is_judged_by_its_first_word(error: str, expected: Remedy) -> None:
    assert remedy(error) is expected


def info(**changes: object) -> dict[str, object]:
    """Return INFO of a good server."""
    good = {"redis_version": "7.0.15", "maxmemory_policy": "noeviction", "aof_enabled": 1, "used_memory": 5}
    return {**good, **changes}


def test_a_server_that_can_be_used_is_not_refused() -> None:
    assert report(info()).refusal is None
    valkey = report(info(server_name="valkey", valkey_version="8.0.1", redis_version="7.2.4"))
    assert (valkey.refusal, valkey.version) == (None, "8.0.1")


def test_an_old_or_evicting_server_is_refused_in_a_sentence() -> None:
    assert "too old" in str(report(info(redis_version="6.2.7")).refusal)
    assert "noeviction" in str(report(info(maxmemory_policy="allkeys-lru")).refusal)


def test_a_server_without_persistence_is_warned_about() -> None:
    assert report(info(aof_enabled=0)).warnings
    assert not report(info()).warnings


def test_a_failpoint_is_off_unless_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert failpoints.armed("commit.before-send") is None
    deaths: list[int] = []
    monkeypatch.setattr(failpoints, "_kill", lambda: deaths.append(1))
    monkeypatch.setenv("TREADLE_FAILPOINTS", "commit.after-send=kill@3")
    assert failpoints.armed("commit.before-send") is None
    hit = failpoints.armed("commit.after-send")
    assert hit is not None
    for _ in range(4):
        hit()
    assert deaths == [1]


def test_an_unknown_failpoint_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_FAILPOINTS", "commit.sometime=kill@1")
    with pytest.raises(ValueError, match=r"commit\.before-send"):
        failpoints.armed("commit.before-send")
