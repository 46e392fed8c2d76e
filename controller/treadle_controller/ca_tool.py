"""`treadle-controller ca` and `client`: the authority of a cluster, and certificates for those who operate it.

ca init        makes an authority, and with it the certificate of the controller
ca renew       makes the controller's certificate anew; a controller that runs takes it from the next connection on
client create  makes a certificate for a person or a program, with a role in some namespaces
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from treadle.errors import ConfigError, TreadleError
from treadle.workflow import is_name
from treadle_controller.access.authority import Authority, hosts_of, key_pem, new_key, write_secret
from treadle_controller.access.caller import ANY_NAMESPACE, Role
from treadle_controller.errors import StartFailed

COMMANDS: Final = ("ca", "client")
_DAY_S: Final = 86_400.0
_MOST_DAYS: Final = 36_500
_HOST: Final = re.compile(r"[A-Za-z0-9*]([A-Za-z0-9.*-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+")
_ROLES: Final = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
_DIR_HELP: Final = "where the authority is: ca.pem and ca-key.pem"


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code (0 done, 1 failed, 2 usage)."""
    parsed = _parser().parse_args(arguments)
    try:
        said = parsed.run(parsed)
    except TreadleError as exc:
        sys.stderr.write(f"treadle-controller: {exc.message}\n")
        return 2 if isinstance(exc, ConfigError) else 1
    except OSError as exc:
        where = f"{exc.filename}: " if exc.filename is not None else ""
        sys.stderr.write(f"treadle-controller: {where}{exc.strerror}\n")
        return 1
    sys.stdout.write(f"{said}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("treadle-controller", description="Makes the certificates of a cluster.")
    commands = parser.add_subparsers(dest="command", required=True)
    ca = commands.add_parser("ca", help="the authority").add_subparsers(dest="verb", required=True)
    init = ca.add_parser("init", help="make an authority, and the controller's certificate")
    renew = ca.add_parser("renew", help="make the controller's certificate anew")
    for command in (init, renew):
        command.add_argument("--dir", type=Path, required=True, metavar="DIR", help="where the files are written")
        command.add_argument(
            "--host",
            action="append",
            default=[],
            metavar="HOST",
            help="an address or name under which the controller is reached; may be repeated"
            + ("" if command is init else "; as before when left out"),
        )
    init.add_argument("--name", default="treadle", help="what the authority is called")
    init.set_defaults(run=_init)
    renew.set_defaults(run=_renew)
    client = commands.add_parser("client", help="people and programs").add_subparsers(dest="verb", required=True)
    create = client.add_parser("create", help="make a certificate for a person or a program")
    create.add_argument("name")
    create.add_argument("--role", choices=_ROLES, required=True)
    create.add_argument("--namespace", action="append", default=[], help="where; may be repeated; * is every one")
    create.add_argument("--days", type=float, default=365.0, help="how long it is good (365)")
    create.add_argument("--dir", type=Path, required=True, metavar="DIR", help=_DIR_HELP)
    create.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where the files are written (.)")
    create.set_defaults(run=_create)
    return parser


def _init(parsed: argparse.Namespace) -> str:
    folder: Path = parsed.dir
    if (folder / "ca.pem").exists() or (folder / "ca-key.pem").exists():
        raise StartFailed(f"{folder} has an authority already, and everybody's certificates are signed by it")
    if not parsed.host:
        raise ConfigError("--host is missing: the address or name that agents and wfctl will use")
    _check(parsed.host)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = Authority.create(parsed.name)
    write_secret(folder / "ca-key.pem", authority.key_pem)
    (folder / "ca.pem").write_bytes(authority.pem)
    _write_controller(folder, authority, parsed.host)
    return f"{folder} has ca.pem, ca-key.pem, cert.pem and key.pem; whoever has ca-key.pem is everybody: keep it safe"


def _renew(parsed: argparse.Namespace) -> str:
    folder: Path = parsed.dir
    authority = Authority.load(folder / "ca.pem", folder / "ca-key.pem")
    _check(parsed.host)
    hosts = parsed.host or hosts_of((folder / "cert.pem").read_bytes())
    _write_controller(folder, authority, hosts)
    return f"{folder} has a new cert.pem and key.pem for {', '.join(hosts)}"


def _check(hosts: Sequence[str]) -> None:
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise ConfigError(f"--host {host!r} is no address and no name of a host: leave port and scheme away")


def _write_controller(folder: Path, authority: Authority, hosts: Sequence[str]) -> None:
    key = new_key()
    # A controller that reads them between the two steps finds that they don't match, and keeps the old ones.
    write_secret(folder / "key.pem", key_pem(key))
    write_secret(folder / "cert.pem", authority.sign_controller(key.public_key(), hosts))


def _create(parsed: argparse.Namespace) -> str:
    namespaces = parsed.namespace or ["default"]
    for name in (parsed.name, *(one for one in namespaces if one != ANY_NAMESPACE)):
        if not is_name(name):
            raise ConfigError(f"{name!r} is no name: 1 to 128 letters, digits, '.', '_', '-'")
    if not 0 < parsed.days <= _MOST_DAYS:
        raise ConfigError(f"--days has to be more than nothing, and at most {_MOST_DAYS:,}")
    authority = Authority.load(parsed.dir / "ca.pem", parsed.dir / "ca-key.pem")
    key, roles = new_key(), dict.fromkeys(namespaces, Role(parsed.role))
    out: Path = parsed.out
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_secret(out / f"{parsed.name}-key.pem", key_pem(key))
    chain = authority.sign_client(parsed.name, key.public_key(), roles, parsed.days * _DAY_S)
    (out / f"{parsed.name}.pem").write_bytes(chain)
    (out / "ca.pem").write_bytes(authority.pem)
    return f"{out} has {parsed.name}.pem, {parsed.name}-key.pem and ca.pem: for --cert, --key and --cacert"
