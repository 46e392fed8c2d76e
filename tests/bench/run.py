"""Runs a benchmark of this folder: `python tests/bench/run.py NAME [--quick]`.

Each `NAME.py` here has `main(*, quick: bool) -> dict` that returns `{"bench", "ratios", "figures"}`. They are
printed as a table for people, and as one JSON object on the last line. Without a name, lists what there is.
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the benchmarks: every module here that defines `main`, this one apart."""
    modules = (path for path in FOLDER.glob("*.py") if path.stem not in {"run", "__init__"})
    return sorted(path.stem for path in modules if "\ndef main(" in path.read_text("utf-8"))


def table(result: dict[str, Any]) -> str:
    """Lay a result out for people."""
    rows = [(kind, name, value) for kind in ("ratios", "figures") for name, value in result[kind].items()]
    width = max((len(name) for _, name, _ in rows), default=0)
    return "\n".join(f"{kind[:-1]:<7} {name:<{width}} {_number(value):>14}" for kind, name, value in rows)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def main() -> int:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(description="Run a benchmark.")
    parser.add_argument("name", nargs="?", choices=names(), help="which one; without it, they are listed")
    parser.add_argument("--quick", action="store_true", help="less precise, within three minutes")
    arguments = parser.parse_args()
    if arguments.name is None:
        print("\n".join(names()))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and peers are ended, too
    # In place of this folder, which Python puts there: a benchmark `queue` must not hide the standard library's.
    sys.path[0] = str(FOLDER.parent.parent)
    result = importlib.import_module(f"tests.bench.{arguments.name}").main(quick=arguments.quick)
    print(table(result))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
