"""`treadle-controller redis`: what whoever runs the Redis server does once for treadle.

acl        prints the ACL SETUSER commands for the users of a namespace; the server is not asked
functions  says which library the server holds; with --replace puts this program's in its place, a newer one too
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final

from treadle.errors import ConfigError, TreadleError
from treadle.queues import acl, library
from treadle.queues.acl import Role
from treadle.queues.admin import QueueAdmin
from treadle.workflow import is_name
from treadle_controller.config import load

_ROLES: Final[tuple[Role, ...]] = ("controller", "agent")


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code (0 done, 1 failed, 2 usage)."""
    parsed = _parser().parse_args(arguments)
    try:
        lines = _acl(parsed) if parsed.command == "acl" else asyncio.run(_functions(parsed))
    except TreadleError as exc:
        sys.stderr.write(f"treadle-controller: {exc.message}\n")
        return 2 if isinstance(exc, ConfigError) else 1
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("treadle-controller redis", description="Prepares a Redis server for treadle.")
    commands = parser.add_subparsers(dest="command", required=True)
    users = commands.add_parser("acl", help="print the ACL SETUSER commands of a namespace's users")
    users.add_argument("--namespace", default="default")
    for role in _ROLES:
        users.add_argument(f"--{role}-user", help=f"what the {role}'s user is called")
        users.add_argument(
            f"--{role}-password-file",
            type=Path,
            metavar="FILE",
            help="its password; the command holds only the hash. Without one nobody can log in until you give it one",
        )
    functions = commands.add_parser("functions", help="say which function library the server holds")
    functions.add_argument("--config", type=Path, metavar="FILE", help="the controller's, for the address of Redis")
    functions.add_argument("--replace", action="store_true", help="load this program's, even over a newer one")
    return parser


def _acl(parsed: argparse.Namespace) -> list[str]:
    if not is_name(parsed.namespace):
        raise ConfigError(f"{parsed.namespace!r} is no name of a namespace")
    return [_setuser(parsed, role) for role in _ROLES]


def _setuser(parsed: argparse.Namespace, role: Role) -> str:
    name = getattr(parsed, f"{role}_user") or acl.user_name(role, parsed.namespace)
    if not is_name(name):
        raise ConfigError(f"{name!r} is no name of a user")
    file: Path | None = getattr(parsed, f"{role}_password_file")
    try:
        password = None if file is None else file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{file} can't be read: {exc}") from exc
    if password == "":
        raise ConfigError(f"{file} holds no password")
    return acl.setuser(name, acl.rules(role, parsed.namespace, password))


async def _functions(parsed: argparse.Namespace) -> list[str]:
    config = load(parsed.config, {})
    ours = library.version_of(library.source()).number
    async with QueueAdmin(config.redis.get_secret_value(), config.namespace) as admin:
        found = await admin.functions()
        if parsed.replace:
            await admin.replace_functions()
            return [f"version {ours} is loaded{_before(found)}"]
    if found is None:
        return [f"the server holds no functions of treadle; this program brings version {ours}"]
    same = "the same as" if found == library.source() else "another than"
    version = library.version_of(found)
    return [f"the server holds version {version.number}, {same} this program's version {ours}"]


def _before(found: str | None) -> str:
    return "" if found is None else f", in the place of version {library.version_of(found).number}"
