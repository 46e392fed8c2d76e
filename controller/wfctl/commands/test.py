"""`wfctl test`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wfctl import documents
from wfctl.cli import Verb, with_settings
from wfctl.errors import BadUsage
from wfctl.output import hint
from wfctl.settings import Settings
from wfctl.text import clean

if TYPE_CHECKING:
    from treadle.testing.examples import Result


@click.command(cls=Verb)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--nodes", multiple=True, metavar="PATH", help="More node modules: a name, a .py file or a folder.")
@with_settings
def test(settings: Settings, files: tuple[str, ...], *, nodes: tuple[str, ...]) -> int:
    """Run the examples beside documents: FILE is `orders.json`, or its `orders.tests.yaml`.

    Everything runs in this process, over queues in memory and on a clock of its own: no controller, no Redis.
    """
    modules = documents.nodes_arguments(nodes)
    results = [(file, result) for file in files for result in _results(file, modules)]
    if settings.output in {"json", "yaml"}:
        click.echo(json.dumps([{"file": file, **asdict(result)} for file, result in results], indent=2))
    else:
        for file, result in results:
            click.echo(f"{'ok' if result.problem is None else 'FAILED':6} {clean(file)}: {clean(result.name)}")
            if result.problem is not None:
                click.echo("".join(f"       {clean(line)}\n" for line in result.problem.splitlines()), nl=False)
    failed = sum(result.problem is not None for _, result in results)
    hint(f"{len(results) - failed} hold, {failed} failed")
    return 1 if failed else 0


def _results(file: str, nodes: tuple[str, ...]) -> list[Result]:
    from treadle.errors import TreadleError
    from treadle.testing.examples import beside, run_examples

    try:
        return run_examples(beside(Path(file)), nodes)
    except TreadleError as exc:
        raise BadUsage(exc.message, file=file) from exc
