"""wfctl: the command line of treadle."""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks in the current folder first: a numbers.py there would be taken for Python's own module.
    sys.path.append(sys.path.pop(0))

import os
from collections.abc import Sequence

import click

from treadle.errors import TreadleError
from wfctl.cli import front
from wfctl.errors import InvalidWorkflow, WfctlError
from wfctl.text import clean


def main() -> None:
    """Run wfctl and exit with its code."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _reader_gone()
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; whatever went wrong is said in one sentence."""
    try:
        code = front.main(list(argv), prog_name="wfctl", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except InvalidWorkflow as exc:
        return _invalid(exc)
    except TreadleError as exc:
        _say(exc.message)
        return exc.exit_code if isinstance(exc, WfctlError) else 1
    except BrokenPipeError:
        return _reader_gone()
    return code if isinstance(code, int) else 0


def _invalid(exc: InvalidWorkflow) -> int:
    if exc.message:
        _say(exc.message)
    return exc.exit_code


def _say(sentence: str) -> None:
    click.echo(f"wfctl: {clean(sentence, lines=True)}", err=True)


def _reader_gone() -> int:
    """Let nothing be written any more: who read our output has left, as `| head` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


if __name__ == "__main__":
    main()
