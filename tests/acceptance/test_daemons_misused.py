"""Both daemons, and the tools of the controller, as somebody starts them who does not know them yet.

A daemon that ends with 2 is not started again by systemd (RestartPreventExitStatus of the units): only somebody can
mend what is wrong. With 1 it is: it may be better in a moment.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.running import program

AGENT, CONTROLLER = "treadle_agent", "treadle_controller"

# What is started, with which arguments; the exit code, and a word of what is said. {files} has what the fixture makes.
TABLE: tuple[tuple[str, str, int, str], ...] = (
    (AGENT, "--nope", 2, "--nope"),
    (AGENT, "nope", 2, "nope"),
    (AGENT, "--config {files}/none.toml", 2, "there is no configuration file"),
    (AGENT, "--config {files}", 2, "there is no configuration file"),
    (AGENT, "--config {files}/bad.toml", 2, "bad.toml"),
    (AGENT, "--config {files}/binary.toml", 2, "binary.toml"),
    (AGENT, "--config {files}/typo.toml", 2, "did you mean controllers?"),
    (AGENT, "--name a/b", 2, "a name is 1 to 128 letters"),
    (AGENT, "--label nonsense", 2, "key=value"),
    (AGENT, "--log-format xml", 2, "xml"),
    (AGENT, "--cert x", 2, "cert and key belong together"),
    (AGENT, "--redis redis://:secret@h", 2, "TREADLE_AGENT_REDIS"),
    (AGENT, "--token-file {files}/none", 2, "state_dir"),
    (AGENT, "--state-dir /proc/nowhere", 2, "the state folder /proc/nowhere can't be used: No such file"),
    (AGENT, "--state-dir {files}/bad.toml", 2, "can't be used: File exists"),
    (AGENT, "--controller 10.1.1.1:7420 --state-dir {files}/state", 2, "could be read and changed on the way"),
    (CONTROLLER, "nope", 2, "nope"),
    (CONTROLLER, "--nope", 2, "--nope"),
    (CONTROLLER, "--config {files}/none.toml", 2, "none.toml can't be read"),
    (CONTROLLER, "--config {files}/bad.toml", 2, "bad.toml"),
    (CONTROLLER, "--listen nonsense", 2, "HOST:PORT"),
    (CONTROLLER, "--listen 0.0.0.0:7420", 2, "--insecure"),
    (CONTROLLER, "--store nonsense", 2, "sqlite:///PATH"),
    (AGENT, "--state-dir {files}/held", 1, "another agent uses the state folder"),
    (CONTROLLER, "--store sqlite:///{files}/bad.toml", 2, "can't be opened"),
    (CONTROLLER, "--store sqlite:////proc/nowhere/c.db", 2, "can't be opened"),
    (CONTROLLER, "--store sqlite:///{files}/held.db", 1, "uses the store held.db"),
    (CONTROLLER, "ca", 2, "verb"),
    (CONTROLLER, "ca init --dir {files}/tls", 2, "--host is missing"),
    (CONTROLLER, "ca init --dir {files}/tls --host http://here:7420", 2, "leave port and scheme away"),
    (CONTROLLER, "ca init --dir /proc/nowhere --host here", 1, "/proc/nowhere"),
    (CONTROLLER, "ca renew --dir {files}/none", 1, "is no certificate that can be read"),
    (CONTROLLER, "client create ann --role king --dir {files}", 2, "king"),
    (CONTROLLER, "client create ../ann --role admin --dir {files}", 2, "'../ann' is no name"),
    (CONTROLLER, "client create ann --role admin --dir {files} --days -1", 2, "more than nothing"),
    (CONTROLLER, "client create ann --role admin --dir {files} --days 1e12", 2, "at most 36,500"),
    (CONTROLLER, "client create ann --role admin --dir {files}/none", 1, "is no certificate that can be read"),
    (CONTROLLER, "backup --store sqlite:///{files}/none.db {files}/copy.db", 1, "there is no store"),
    (CONTROLLER, "backup --store sqlite:///{files}/bad.toml {files}/copy.db", 1, "not a database"),
    (CONTROLLER, "restore --store sqlite:///{files}/new.db {files}/none.db", 1, "there is no backup"),
    (CONTROLLER, "restore --store sqlite:///{files}/new.db {files}/bad.toml", 1, "not a database"),
    (CONTROLLER, "redis", 2, "command"),
    (CONTROLLER, "redis acl --namespace a/b", 2, "a/b"),
    (CONTROLLER, "redis acl --agent-password-file {files}/none", 2, "can't be read"),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("files")
    (made / "bad.toml").write_text("x = [ and no more, for as long as a page of a database is\n" * 20)
    (made / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (made / "typo.toml").write_text('controler = ["127.0.0.1:7420"]\n')
    (made / "held").mkdir()
    with (made / "held" / "agent.lock").open("w") as agent, (made / "held.db.lock").open("w") as controller:
        for held in (agent, controller):
            fcntl.flock(held, fcntl.LOCK_EX)
        yield made


@pytest.mark.parametrize(("daemon", "arguments", "code", "word"), TABLE)
def test_what_is_wrong_is_said_and_nothing_is_left(
    daemon: str, arguments: str, code: int, word: str, files: Path
) -> None:
    before = {path.name for path in files.iterdir()}
    done = program(files, daemon, *arguments.format(files=files).split())
    said = done.out + done.err
    assert done.code == code, said
    assert word in said
    assert "Traceback" not in said
    made = {path.name for path in files.iterdir()} - before - {"state", "new.db", "new.db.lock", "bad.toml.lock"}
    assert not made
