"""Every verb as somebody uses it who does not know it yet: wrong arguments, names, files and servers.

The table has a row for each verb of click's tree; a verb without one fails, and so does a row without its verb.
"""

from __future__ import annotations

import json
import shlex
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from tests.acceptance.documents import ledger, save
from tests.acceptance.running import Dev, Ran, wfctl
from wfctl.cli import front

WORD = "\x1b["  # begins what steers a terminal


@dataclass(frozen=True)
class Row:
    """`example` is well-formed, what it names is not there. `wrong`: arguments, exit code, a word of what is said."""

    example: str
    code: int = 0
    wrong: tuple[tuple[str, int, str], ...] = ()
    server: bool = True  # whether it asks one
    namespace: bool = True  # whether it asks about a namespace


CONTROL = (
    ("a/b/c", 2, "write WORKFLOW or WORKFLOW/LOOP"),
    ("ghost/x", 4, "ghost"),
    ("ghost --wait-timeout soon", 2, "duration"),
)
FILES = (("{gone}", 2, "there is no"), ("{folder}/empty", 2, "holds no .json file"), ("''", 2, "is empty"))
BROKEN = (("{broken}", 3, "broken.json"), ("{wrong}", 3, "unknown-node-type"))

TABLE: dict[str, Row] = {
    "dev": Row(
        "--agents 0",
        2,
        (
            *FILES,
            ("--for soon", 2, "is no duration"),
            ("--nodes ./nothing.py", 2, "there is no such file"),
            ("--port 70000", 2, "--port"),
            ("--redis nonsense://x", 2, "'nonsense'"),
        ),
        server=False,
    ),
    "validate": Row(
        "{good}", 0, (*FILES, *BROKEN, ("", 2, "FILE"), ("--nodes ./no.py {good}", 2, "no.py")), server=False
    ),
    "test": Row("{good}", 2, (FILES[0], ("", 2, "FILE")), server=False),
    "fmt": Row("--check {good}", 1, (*FILES, ("--check {broken}", 3, "broken.json"), ("", 2, "FILE")), server=False),
    "diff": Row("{good}", 1, (*FILES, *BROKEN)),
    "plan": Row("{good}", 1, (*FILES, *BROKEN)),
    "apply": Row(
        "--detach --if-revision 7 -f {good}",
        5,
        (
            ("", 2, "--filename"),
            ("-f {gone}", 2, "there is no"),
            ("-f ''", 2, "the name of a document is empty"),
            ("-f {broken}", 3, "broken.json"),
            ("-f {wrong}", 3, "unknown-node-type"),
            ("-f {good} --wait-timeout x", 2, "duration"),
            ("-f {good} --if-revision x", 2, "--if-revision"),
        ),
    ),
    "get": Row(
        "workflows ghost",
        4,
        (
            ("boxes", 2, "workflows"),
            ("", 2, "workflows"),
            ("revisions", 2, "wfctl get revisions WORKFLOW"),
            ("loops ghost", 4, "ghost"),
            ("loops a/b/c", 2, "WORKFLOW/LOOP"),
            ("nodes ghost/x", 4, "ghost"),
            ("agents ghost", 4, "ghost"),
            ("queues ghost", 4, "ghost"),
            ("loops -l nonsense", 2, "key=value"),
        ),
    ),
    "describe workflow": Row("ghost", 4, (("", 2, "NAME"),)),
    "describe loop": Row("ghost/x", 4, (("ghost", 2, "WORKFLOW/LOOP"), ("", 2, "WORKFLOW/LOOP"))),
    "describe agent": Row("ghost", 4, namespace=False),
    "describe queue": Row("ghost", 4),
    "delete workflow": Row("ghost", 4, (("ghost --wait-timeout x", 2, "duration"),)),
    "start": Row("ghost", 4, CONTROL),
    "stop": Row("ghost", 4, CONTROL),
    "pause": Row("ghost", 4, CONTROL),
    "resume": Row("ghost", 4, CONTROL),
    "restart": Row("ghost", 4, CONTROL),
    "scale": Row("ghost/x --replicas 2", 4, (("ghost/x", 2, "--replicas"), ("ghost --replicas 2", 2, "WORKFLOW/LOOP"))),
    "rollout status": Row("ghost", 4),
    "rollout history": Row("ghost", 4),
    "rollout undo": Row("ghost", 4, (("ghost --to x", 2, "--to"),)),
    "queue ls": Row("", 0, (("extra", 2, "unexpected"), ("--workflow ghost", 4, "ghost"))),
    "queue peek": Row("ghost", 4, (("ghost --limit 0", 2, "--limit"),)),
    "queue push": Row(
        "ghost '{{}}'",
        4,
        (("ghost nojson", 2, "JSON"), ("ghost '[1]'", 2, "object"), ("ghost '{{}}' --producer me", 2, "--sequence")),
    ),
    "queue purge": Row("ghost", 4),
    "queue delete": Row("ghost", 4),
    "queue delete-consumer": Row("ghost billing", 4),
    "dlq ls": Row("ghost", 4),
    "dlq show": Row("ghost 1-1", 4, (("ghost", 2, "ID"),)),
    "dlq replay": Row("ghost --all", 4, (("ghost", 2, "--all"), ("ghost 1-1 --all", 2, "--all"))),
    "dlq drop": Row("ghost --all", 4, (("ghost", 2, "--all"),)),
    "agent ls": Row("", 0, (("extra", 2, "unexpected"),), namespace=False),
    "agent cordon": Row("ghost", 4, namespace=False),
    "agent uncordon": Row("ghost", 4, namespace=False),
    "agent drain": Row("ghost", 4, (("ghost --deadline x", 2, "duration"),), namespace=False),
    "agent revoke": Row("ghost", 0, (("", 2, "NAME"),), namespace=False),
    "agent token create": Row("'not a name'", 2, (("", 2, "NAME"),), namespace=False),
    "client whoami": Row("", 0, (("extra", 2, "unexpected"),), namespace=False),
    "client revoke": Row("ghost", 0, (("", 2, "NAME"),), namespace=False),
    "client token create": Row("someone --role king", 2, (("", 2, "NAME"),), namespace=False),
    "node-types ls": Row("", 0, namespace=False),
    "node-types show": Row("no.such", 4, (("", 2, "NAME"),), namespace=False),
    "logs": Row(
        "ghost", 4, (("ghost/x", 4, "ghost"), ("a/b/c", 2, "WORKFLOW/LOOP"), ("ghost --level loud", 2, "debug"))
    ),
    "events": Row("ghost", 0, (("--kind box", 2, "loop"), ("--limit 0", 2, "--limit"), ("--since x", 2, "duration"))),
    "top": Row(
        "--once ghost", 4, (("--sort colour", 2, "rate"), ("--once ghost/x", 4, "ghost"), ("--every 0", 2, "--every"))
    ),
    "why": Row("ghost", 4, (("ghost/x", 4, "ghost"), ("a/b/c", 2, "WORKFLOW/LOOP"), ("", 2, "WORKFLOW"))),
    "context ls": Row("", 0, (("extra", 2, "unexpected"),), server=False),
    "context show": Row("ghost", 2, server=False),
    "context use": Row("ghost", 2, (("", 2, "NAME"),), server=False),
    "context set": Row(
        "'bad name' --address x",
        2,
        (("new --cacert {gone}", 2, "no-such"), ("new --address nonsense", 2, "HOST:PORT")),
        server=False,
    ),
    "context delete": Row("ghost", 2, server=False),
    "version": Row("", 0, (("extra", 2, "unexpected"),), server=False),
    "completion": Row("tcsh", 2, (("", 2, "bash"),), server=False),
}


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield every verb that does something, by its words."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from leaves(below, (*path, name))


VERBS = dict(leaves(front))
ONLINE = [verb for verb, row in TABLE.items() if row.server]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("documents")
    (made / "empty").mkdir()
    save(made, ledger("ghost"), "good.json")
    (made / "broken.json").write_text('{"nodes": [')
    document = ledger("wrong")
    document["nodes"][0]["data"]["uses"] = "genrate"
    save(made, document, "wrong.json")
    return made


def argv(verb: str, arguments: str, folder: Path) -> list[str]:
    files = {name: str(folder / f"{name}.json") for name in ("good", "broken", "wrong")}
    return [*verb.split(), *shlex.split(arguments.format(**files, folder=folder, gone=folder / "no-such.json"))]


def check(ran: Ran, code: int, *words: str) -> None:
    """Check what everybody may expect: the exit code, no traceback, nothing on stdout, and what is wrong in words."""
    said = f"{ran}"
    assert ran.code == code, said
    assert "Traceback" not in ran.out + ran.err, said
    assert WORD not in ran.err, said
    if code:
        assert (ran.err + ran.out).strip(), said
    for word in words:
        assert word in ran.err + ran.out, said


def test_every_verb_has_a_row_and_every_row_its_verb() -> None:
    assert sorted(TABLE) == sorted(VERBS)


@pytest.mark.parametrize("verb", TABLE)
def test_the_example_ends_as_it_should(cluster: Dev, verb: str, folder: Path) -> None:
    row = TABLE[verb]
    ran = cluster.wfctl(*argv(verb, row.example, folder))
    check(ran, row.code)
    if row.code == 4:
        assert ran.out == ""
        assert "ghost" in ran.err or "no.such" in ran.err, ran.err
        assert "see: wfctl " in ran.err, "what to do"


@pytest.mark.parametrize(
    ("verb", "arguments", "code", "word"), [(verb, *wrong) for verb, row in TABLE.items() for wrong in row.wrong]
)
def test_wrong_arguments_are_told(cluster: Dev, verb: str, arguments: str, code: int, word: str, folder: Path) -> None:
    check(cluster.wfctl(*argv(verb, arguments, folder)), code, word)


@pytest.mark.parametrize("verb", TABLE)
def test_an_option_that_there_is_not_and_one_argument_too_many_are_usage(cluster: Dev, verb: str, folder: Path) -> None:
    check(cluster.wfctl(*verb.split(), "--nonsense"), 2, "--nonsense")
    takes_many = any(param.nargs == -1 for param in VERBS[verb].params)
    if not takes_many:
        check(cluster.wfctl(*argv(verb, TABLE[verb].example, folder), *"one two three four".split()), 2)


@pytest.mark.parametrize("verb", TABLE)
def test_help_has_a_sentence_and_an_example_and_ends_with_0(cluster: Dev, verb: str) -> None:
    ran = cluster.wfctl(*verb.split(), "--help")
    check(ran, 0, f"Usage: wfctl {verb.split(maxsplit=1)[0]}", "Examples:")
    assert f"wfctl {verb}" in ran.out.partition("Examples:")[2]


@pytest.mark.parametrize("verb", ONLINE)
def test_a_server_that_is_not_there_is_exit_code_1(verb: str, folder: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listened to: nobody else gets it
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        ran = wfctl(*argv(verb, TABLE[verb].example, folder), address=address)
    if TABLE[verb].code != 2:
        check(ran, 1, address, "can't be reached", "wfctl dev")


@pytest.mark.parametrize("verb", [verb for verb in ONLINE if TABLE[verb].namespace])
def test_a_namespace_that_the_server_does_not_have_is_exit_code_4(cluster: Dev, verb: str, folder: Path) -> None:
    ran = cluster.wfctl("-n", "elsewhere", *argv(verb, TABLE[verb].example, folder))
    check(ran, 4, "there is no namespace 'elsewhere' here; this controller serves 'default'")


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    """Return the address of a server that speaks something else."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("verb", ["get", "why", "logs", "apply"])
def test_a_server_that_is_something_else_is_told(stranger: str, verb: str, folder: Path) -> None:
    ran = wfctl("--timeout", "2s", *argv(verb, TABLE[verb].example, folder), address=stranger)
    assert ran.code in {1, 6}
    check(ran, ran.code, stranger)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--cacert", "no-such.pem"), "no-such.pem can't be read"),
        (("--cacert", __file__), "holds no certificate"),
        (("--token", "two\nlines"), "give it in one line"),
        (("--cert", "x.pem"), "--cacert"),
        (("--context", "nowhere"), "there is no context 'nowhere'"),
        (("--timeout", "later"), "is no duration"),
        (("-o", "xml"), "'xml'"),
        (("--address", "nonsense"), "HOST:PORT"),
        (("--address", "host:port"), "HOST:PORT"),
    ],
)
def test_global_options_that_cannot_be_used_are_usage(cluster: Dev, options: tuple[str, ...], word: str) -> None:
    check(cluster.wfctl("get", "workflows", *options), 2, word)


@pytest.mark.parametrize(
    "verb",
    ["get workflows", "get loops", "get agents", "get queues", "queue ls", "agent ls", "node-types ls", "events"],
)
def test_every_listing_has_every_form(cluster: Dev, verb: str) -> None:
    json.loads(cluster.wfctl(*verb.split(), "-o", "json").out)
    for form in ("table", "wide", "yaml", "name"):
        check(cluster.wfctl(*verb.split(), "-o", form), 0)
