"""`wfctl dev`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from wfctl import documents
from wfctl.cli import DURATION, Verb, with_settings
from wfctl.documents import Document
from wfctl.errors import BadUsage
from wfctl.output import hint
from wfctl.settings import Settings

if TYPE_CHECKING:
    from wfctl.dev.cluster import ClusterConfig


_SCHEMES: Final = ("redis://", "rediss://", "redis+sentinel://", "redis+cluster://")


@click.command(cls=Verb)
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--for", "limit", type=DURATION, default=None, help="Stop so long after all loops run, as in 10s.")
@click.option("--agents", type=click.IntRange(1, 64), default=1, show_default=True, help="How many agents.")
@click.option(
    "--redis",
    default=None,
    metavar="URL",
    envvar="WF_REDIS",
    show_envvar=True,
    help="Use this server instead of an embedded one.",
)
@click.option("--state-dir", type=click.Path(path_type=Path), default=None, help="Keep state here.  [default: nowhere]")
@click.option("--nodes", multiple=True, metavar="PATH", help="More node modules: a name, a .py file or a folder.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=7420,
    show_default=True,
    envvar="WF_PORT",
    help="gRPC; 0 for any free.",
)
@click.option(
    "--http-port",
    type=click.IntRange(0, 65535),
    default=7421,
    show_default=True,
    envvar="WF_HTTP_PORT",
    help="HTTP; 0 the same.",
)
@with_settings
def dev(settings: Settings, /, files: tuple[str, ...], limit: float | None, **options: Any) -> int:
    """Run everything on this machine: a server for the queues, the controller, agents, and the files.

    Shows what happens, ends by itself when all loops of the files have completed, and stops all on Ctrl-C.
    """
    given = documents.read(files)
    redis = options["redis"]
    if redis is not None and not redis.startswith(_SCHEMES):
        scheme = redis.partition("://")[0] if "://" in redis else "nothing"
        raise BadUsage(f"--redis: the URL begins with {scheme!r}; it has to begin with one of {', '.join(_SCHEMES)}")
    from wfctl.dev.cluster import ClusterConfig

    config = ClusterConfig(
        namespace=settings.namespace, **{**options, "nodes": documents.nodes_arguments(options["nodes"])}
    )
    return _run(settings, config, given, limit)


def _run(settings: Settings, config: ClusterConfig, given: list[Document], limit_s: float | None) -> int:
    """Start everything, stay until the end, and leave nothing running whatever happens."""
    from wfctl.dev.cluster import Cluster
    from wfctl.dev.signals import Signals, Stopped

    signals = Signals()
    signals.listen()
    cluster = Cluster(config, hurry=lambda: signals.ordered)
    hint("starting Valkey, the controller and the agents ...")
    try:
        cluster.start()
        # Only now: importing gRPC takes as long as the daemons need to start, and they started before it had threads.
        from wfctl.dev.session import Session

        return Session(settings, cluster, signals, given, limit_s=limit_s).run()
    except Stopped:
        return 0
    finally:
        cluster.stop()
