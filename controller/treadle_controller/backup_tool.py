"""`treadle-controller backup FILE` and `treadle-controller restore FILE`: the store as one file, and back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from treadle.errors import ConfigError, TreadleError
from treadle_controller.config import load
from treadle_controller.store.backup import backup, restore

COMMANDS: Final = ("backup", "restore")


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code (0 done, 1 failed, 2 usage)."""
    parsed = _parser().parse_args(arguments)
    flags = {} if parsed.store is None else {"store": parsed.store}
    try:
        config = load(parsed.config, flags)
        if parsed.command == "backup":
            rows = backup(config.store, parsed.file)
            said = f"{rows} rows are in {parsed.file}"
        else:
            rows = restore(config.store, parsed.file, force=parsed.force)
            said = f"{rows} rows of {parsed.file} are in the store; epochs go on above any that Redis can know"
    except TreadleError as exc:
        sys.stderr.write(f"treadle-controller: {exc.message}\n")
        return 2 if isinstance(exc, ConfigError) else 1
    sys.stdout.write(f"{said}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("treadle-controller", description="Saves the controller's store, and restores it.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, does in (
        ("backup", "copy the store to a file, also while the controller runs"),
        ("restore", "replace the store by a backup, while no controller runs"),
    ):
        command = commands.add_parser(name, help=does, description=does)
        command.add_argument("file", type=Path, metavar="FILE")
        command.add_argument("--config", type=Path, metavar="FILE", help="the controller's, for the store")
        command.add_argument("--store", help="the store, as the controller takes it")
        if name == "restore":
            command.add_argument("--force", action="store_true", help="also over a store that holds workflows")
    return parser
