"""`wfctl completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from wfctl.cli import Verb, front
from wfctl.errors import BadUsage


@click.command(cls=Verb)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For bash, add to ~/.bashrc:  eval "$(wfctl completion bash)"
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise BadUsage(f"click has no completion for {shell}; use bash, zsh or fish")
    click.echo(kind(front, {}, "wfctl", "_WFCTL_COMPLETE").source())
