"""The program treadle-controller."""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks in the current folder first: a numbers.py there would be taken for Python's own module.
    sys.path.append(sys.path.pop(0))

import argparse
import logging
from pathlib import Path
from typing import Any

import uvloop

from treadle.errors import TreadleError
from treadle_controller import backup_tool, ca_tool, logs, redis_tool
from treadle_controller.config import ControllerConfig, load
from treadle_controller.daemon import Daemon
from treadle_controller.errors import NeedsMending

_log = logging.getLogger("treadle_controller")
_NOT_A_FLAG = "redis"  # may hold a password, which everybody could read in the list of processes


def main(arguments: list[str] | None = None) -> int:
    """Run the controller; returns the exit code (0 stopped, 1 failed, 2 bad configuration: no restart helps)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["redis"]:
        return redis_tool.main(arguments[1:])
    if arguments[:1] and arguments[0] in ca_tool.COMMANDS:
        return ca_tool.main(arguments)
    if arguments[:1] and arguments[0] in backup_tool.COMMANDS:
        return backup_tool.main(arguments)
    parsed = vars(_parser().parse_args(arguments))
    logs.set_up(parsed.pop("log_format"))
    config_file, check, address_file = parsed.pop("config"), parsed.pop("check_config"), parsed.pop("address_file")
    flags: dict[str, Any] = {key: value for key, value in parsed.items() if value is not None}
    try:
        config = load(config_file, flags)
    except TreadleError as exc:
        return _fail(exc, 2)
    if check:
        sys.stdout.write("the configuration is good\n")
        return 0
    try:
        uvloop.run(Daemon(config, address_file=address_file).run())
    except NeedsMending as exc:
        return _fail(exc, 2)
    except TreadleError as exc:
        return _fail(exc, 1)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "treadle-controller",
        description="Decides which agent runs which loop.",
        epilog="`treadle-controller redis --help` prepares a Redis server: users with their rights, functions. "
        "`treadle-controller ca --help` and `client --help` make certificates; `backup` and `restore` keep the store.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file; the environment and flags go over it")
    parser.add_argument("--check-config", action="store_true", help="look at the configuration, and stop")
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="how the log is written")
    parser.add_argument("--address-file", type=Path, metavar="FILE", help="write the bound addresses there, as JSON")
    for name, field in ControllerConfig.model_fields.items():
        if name == "insecure":
            parser.add_argument("--insecure", action="store_const", const=True, help=field.description)
        elif name != _NOT_A_FLAG:
            parser.add_argument(f"--{name.replace('_', '-')}", help=field.description)
    return parser


def _fail(exc: TreadleError, code: int) -> int:
    _log.error("%s", exc.message)
    return code


if __name__ == "__main__":
    sys.exit(main())
