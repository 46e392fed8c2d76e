"""`treadle-agent`: the command line. Everything heavy is imported by what runs, not here."""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks in the current folder first: a numbers.py there would be taken for Python's own module.
    sys.path.append(sys.path.pop(0))

from pathlib import Path
from typing import Any

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(path_type=Path), help="TOML file; the environment and flags go over it.")
@click.option("--check-config", is_flag=True, help="Say whether the configuration is good, and end.")
@click.option("--controller", "controllers", multiple=True, metavar="HOST:PORT", help="Tried in turn; may be repeated.")
@click.option("--name", help="Name of this agent; the host's name by default.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="For placement; may be repeated.")
@click.option("--slots-thread", type=int, help="Loops of the thread pool.")
@click.option("--slots-process", type=int, help="Loops of the process pool.")
@click.option("--slots-asyncio", type=int, help="Loops of the asyncio pool.")
@click.option("--redis", metavar="URL", help="Without a password: give that in TREADLE_AGENT_REDIS or the file.")
@click.option("--nodes", multiple=True, metavar="MODULE|PATH", help="Node types to offer; may be repeated.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Held by a lock against a second agent.")
@click.option("--cacert", type=click.Path(path_type=Path), help="Authority of the controllers' certificates.")
@click.option("--cert", type=click.Path(path_type=Path), help="This agent's certificate.")
@click.option("--key", type=click.Path(path_type=Path), help="Its key.")
@click.option("--token-file", type=click.Path(path_type=Path), help="Holds a token of `wfctl agent token create`.")
@click.option("--insecure", is_flag=True, default=None, help="Speak plain text with controllers on other hosts.")
@click.option("--log-format", type=click.Choice(["text", "json"]))
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]))
@click.version_option(package_name="treadle")
def main(config: Path | None, *, check_config: bool, **flags: Any) -> None:
    """Run the loops that a controller assigns to this host."""
    from treadle.errors import ConfigError  # noqa: PLC0415 - `--help` needs none of it
    from treadle_agent.config import load_config  # noqa: PLC0415

    try:
        settings = load_config(config, _given(flags))
    except ConfigError as exc:
        click.echo(f"treadle-agent: {exc.message}", err=True)
        sys.exit(2)
    if check_config:
        click.echo("the configuration is good")
        return
    # The forkserver loads while we do, and nothing is ever forked from a process that knows of gRPC.
    from treadle_agent.supervisor.spawner import Spawner  # noqa: PLC0415

    spawner = Spawner(*(["treadle_agent.pools.spans"] if settings.otlp_endpoint else []))
    spawner.launch()
    from treadle_agent.daemon import run  # noqa: PLC0415

    sys.exit(run(settings, spawner))


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the flags that were given, named like the configuration's keys."""
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    slots = {pool: given.pop(f"slots_{pool}") for pool in ("thread", "process", "asyncio") if f"slots_{pool}" in given}
    if slots:
        given["slots"] = slots
    if "labels" in given:
        given["labels"] = ",".join(given["labels"])
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


if __name__ == "__main__":
    main()
