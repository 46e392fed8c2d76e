"""Writes controller/reference.md, the reference of wfctl, from its commands; `--check` only compares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from wfctl import errors, examples
from wfctl.cli import front

PAGE = Path(__file__).resolve().parents[1] / "controller" / "reference.md"
HEAD = """# wfctl, verb by verb

Made from the commands by `.venv/bin/python .ci/reference.py`; a test sees to it that it is current.
`wfctl VERB --help` says the same. `NAME` stands for what you put there, `[...]` for what may be left out.

"""


def main() -> int:
    """Write the page, or compare."""
    text = page()
    if "--check" in sys.argv[1:]:
        current = PAGE.exists() and PAGE.read_text() == text
        if not current:
            print(f"{PAGE} is not current; run: .venv/bin/python .ci/reference.py", file=sys.stderr)
        return 0 if current else 1
    PAGE.write_text(text)
    return 0


def page() -> str:
    """Return the whole page."""
    parts = [HEAD, *_front(), "## Exit codes\n\n| code | meaning |\n| --- | --- |\n", *_codes(), "\n"]
    for path, command, ctx in leaves(front, click.Context(front, info_name="wfctl"), ()):
        parts += _verb(path, command, ctx)
    return "".join(parts).rstrip() + "\n"


def leaves(
    command: click.Command, ctx: click.Context, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command, click.Context]]:
    """Yield every verb that does something."""
    if not isinstance(command, click.Group):
        yield path, command, ctx
        return
    for name in command.list_commands(ctx):
        below = command.get_command(ctx, name)
        if below is not None:
            yield from leaves(below, click.Context(below, info_name=name, parent=ctx), (*path, name))


def _front() -> list[str]:
    text = front.help or ""
    return [f"{text.strip()}\n\n", "## Options of every verb\n\n", *_options(front, click.Context(front)), "\n"]


def _codes() -> list[str]:
    found = {0: "done"}
    for kind in (errors.WfctlError, *errors.WfctlError.__subclasses__()):
        words = (kind.__doc__ or "").strip().splitlines()[0].rstrip(".")
        found[kind.exit_code] = (
            f"{found[kind.exit_code]}; {words[0].lower() + words[1:]}"
            if kind.exit_code in found
            else (words[0].lower() + words[1:])
        )
    lines = [f"| {code} | {meaning} |\n" for code, meaning in sorted(found.items())]
    return [
        *lines,
        "\n`diff`, `plan` and `fmt --check`: 0 when nothing differs, 1 when something does, 2 and up for an error.\n",
    ]


def _verb(path: tuple[str, ...], command: click.Command, ctx: click.Context) -> list[str]:
    usage = " ".join(["wfctl", *path, *command.collect_usage_pieces(ctx)])
    text = "\n".join(line.strip() for line in (command.help or "").strip().splitlines())
    parts = [f"## {' '.join(path)}\n\n", f"    {usage}\n\n", f"{text}\n\n", *_options(command, ctx)]
    shown = examples.text(" ".join(path))
    return [*parts, "```sh\n", *(f"{line}\n" for line in shown), "```\n\n"] if shown else parts


def _options(command: click.Command, ctx: click.Context) -> list[str]:
    rows = [
        param.get_help_record(ctx) for param in command.params if isinstance(param, click.Option) and not param.hidden
    ]
    found = [(names, words) for names, words in (row for row in rows if row is not None)]
    if not found:
        return []
    lines = [f"| `{names.replace('|', '&#124;')}` | {_cell(words)} |\n" for names, words in found]
    return ["| option | |\n| --- | --- |\n", *lines, "\n"]


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
