"""Where plays are performed: a server, perhaps a proxy, a folder."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.chaos.queues.patches import Patch
from tests.chaos.queues.play import Play, Result
from tests.chaos.queues.programme import Piece, sized, toothless
from tests.cutting_proxy import cutting_proxy
from tests.servers import redis_server

_numbers = itertools.count(1)


def perform(
    piece: Piece,
    kind: str,
    folder: Path,
    *,
    seed: int,
    size: float = 1.0,
    patches: Sequence[Patch] = (),
    patience_s: float | None = None,
) -> Result:
    """Play a piece on a server of its own; what did not bite is among the violations."""
    piece = sized(piece, seed, size)
    script = replace(piece.script, patches=tuple(patches), patience_s=patience_s or piece.script.patience_s)
    number = next(_numbers)
    place = folder / f"play-{number}"
    place.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(redis_server(kind, aof=piece.aof, folder=place / "server"))
        proxy = stack.enter_context(cutting_proxy(server.url)) if piece.proxied else None
        play = Play(script, server, place, f"chaos-{number}", proxy)
        result = play.perform(piece.schedule(random.Random(seed), size))
        if proxy is not None:
            result.bites["answers cut"] = proxy.cuts
    if not patches:
        result.violations += toothless(piece, result)
    return result
