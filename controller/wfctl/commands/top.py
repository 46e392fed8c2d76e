"""`wfctl top`."""

from __future__ import annotations

import sys
import time
from typing import Final

import click

from wfctl import rows, tables
from wfctl.cli import Verb, with_settings
from wfctl.settings import Settings

_EVERY_S: Final = 1.0


@click.command(cls=Verb)
@with_settings
def top(settings: Settings) -> None:
    """Show live figures of all loops and queues until Ctrl-C; once when the output is no terminal."""
    from wfctl.client import Client
    from wfctl.dev import view
    from wfctl.dev.session import observe

    with Client(settings) as client:
        if not sys.stdout.isatty():
            now = observe(client)
            tables.show(rows.loops(now.loops), settings)
            tables.show(rows.queues(now.queues), settings)
            return
        with view.choose(settings, f"wfctl top  {settings.address}  namespace {settings.namespace}") as shown:
            while True:
                shown.show(observe(client))
                time.sleep(_EVERY_S)
