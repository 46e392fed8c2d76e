"""`wfctl version`."""

from __future__ import annotations

import json
from importlib.metadata import version as installed

import click

from wfctl.cli import Verb, with_settings
from wfctl.settings import Settings


@click.command(cls=Verb)
@with_settings
def version(settings: Settings) -> None:
    """Print the version of wfctl."""
    number = installed("treadle")
    click.echo(json.dumps({"version": number}) if settings.output == "json" else f"wfctl {number}")
