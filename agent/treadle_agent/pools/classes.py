"""Node classes of this process: treadle's own are there before the fork, others are imported when first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from treadle import catalog
from treadle.errors import CatalogError
from treadle.node import Node
from treadle.nodes.expression import Expression

BUILTIN: Final = catalog.ENTRY_POINTS  # the module, which is also the name of the entry point group

_loaded: dict[str, dict[str, type[Node[Any]]]] = {}
_lock = threading.Lock()


def load_builtin() -> None:
    """Import treadle's own nodes; the forkserver does it once for all children."""
    _load(BUILTIN)


def warm_up() -> None:
    """Load the language of expressions, which is large, and have it make what it makes for the first of them."""
    Expression("data.n + 1", where="warm-up")


def classes(sources: Mapping[str, str], importing: Callable[[], None]) -> dict[str, type[Node[Any]]]:
    """Return the class of each node type, by the module that the catalog found it in. Raises CatalogError.

    One loop imports at a time; `importing` is called when it is this one's turn.
    """
    if not known(sources):
        with _lock:
            importing()
            for source in sources.values():
                if source not in _loaded:
                    _load(source)
    return {uses: _class(uses, source) for uses, source in sources.items()}


def known(sources: Mapping[str, str]) -> bool:
    """Whether nothing has to be imported."""
    return all(source in _loaded for source in sources.values())


def _class(uses: str, source: str) -> type[Node[Any]]:
    if uses not in _loaded[source]:
        raise CatalogError(f"{source} does not offer {uses} any more", uses=uses, module=source)
    return _loaded[source][uses]


def _load(source: str) -> None:
    loaded = catalog.load(entry_points=False, paths=[source])
    if loaded.errors and not loaded.classes:
        raise loaded.errors[0]
    _loaded[source] = loaded.classes
