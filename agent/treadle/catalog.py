"""The catalog: which node implementations this installation offers, found and described.

Node types come from the entry point group `treadle.nodes` (each entry is a module) and from `--nodes` values,
each a module name, a `.py` file or a folder. A module offers the classes in its `__all__` (modules named there
are looked into); without `__all__` the Node classes that it defines, and a package those of its submodules
(not of those whose name starts with `_`).
Only a class that has `uses` in its own body is offered.

Loading imports user code: do it in a process that may die. One bad module never hides the others.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, TypeGuard

from treadle.errors import CatalogError
from treadle.node import Node
from treadle.workflow.node_type import NodeType

ENTRY_POINTS: Final = "treadle.nodes"
USES: Final = re.compile(r"[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*){0,3}")
_PRIVATE: Final = "treadle_user_nodes_"  # prefix of modules loaded by path; hashed on, so it shadows nobody's name


class NodeModuleError(CatalogError):
    """A node module or class can't be offered.

    `file` is the module name or path as it was given, `reason` the whole story (for an import: the traceback).
    """

    def __init__(self, message: str, *, file: str, reason: str = "") -> None:
        super().__init__(message, file=file, reason=reason or message)
        self.file = file
        self.reason = reason or message


class DuplicateUses(NodeModuleError):
    """Two classes have the same `uses`; the first one found is kept."""

    code = "duplicate-uses"


class BadUses(NodeModuleError):
    """A class has a `uses` that is no valid name."""

    code = "bad-node-type"


class ImportFailed(NodeModuleError):
    """A module could not be imported."""

    code = "import-failed"


class BadParams(NodeModuleError):
    """A class has parameters that no JSON Schema can describe."""

    code = "bad-params"


@dataclass(slots=True)
class Catalog:
    """What was found: implementations by `uses`, their descriptions in the same order, and what went wrong."""

    classes: dict[str, type[Node[Any]]] = field(default_factory=dict)
    types: list[NodeType] = field(default_factory=list)
    errors: list[NodeModuleError] = field(default_factory=list)

    def add(self, cls: type[Node[Any]], *, source: str, digest: str) -> None:
        """Offer a class, or report why it can't be."""
        known = self.classes.get(cls.uses)
        if known is cls:
            return
        problem = _problem(cls, known, source)
        if problem is not None:
            self.errors.append(problem)
            return
        try:
            described = describe(cls, digest=digest, module=source)
        except Exception as exc:  # noqa: BLE001 - pydantic and user schema hooks raise what they like
            message = f"{_path(cls)}: its Params have no JSON Schema: {exc}"
            self.errors.append(BadParams(message, file=source, reason=_story(exc)))
            return
        self.classes[cls.uses] = cls
        self.types.append(described)


def load(entry_points: bool = True, paths: Sequence[str] = ()) -> Catalog:  # noqa: FBT001, FBT002 - reads as a sentence
    """Import every node module and return what they offer; never raises for a bad one (see `Catalog.errors`).

    With `entry_points`, the installed group `treadle.nodes` comes first, treadle's own before all others; then
    `paths` in the order given: a value that ends in `.py`, is an existing folder or has a separator is a path,
    everything else a module name.
    """
    catalog = Catalog()
    for name in _entry_modules() if entry_points else ():
        _offer_module(catalog, name)
    for value in paths:
        if _is_path(value):
            _offer_path(catalog, Path(value), value)
        else:
            _offer_module(catalog, value)
    return catalog


def describe(cls: type[Node[Any]], *, digest: str = "", module: str = "") -> NodeType:
    """Return the description of a node class, which travels without its code."""
    role: Literal["producer", "node"] = "producer" if cls.role == "producer" else "node"
    return NodeType(
        uses=cls.uses,
        role=role,
        schema=cls.params_model.model_json_schema(),
        doc=inspect.cleandoc(cls.__doc__ or "").split("\n\n", 1)[0],
        stateful=cls.stateful,
        state_version=cls.state_version,
        digest=digest,
        module=module or cls.__module__,
    )


def _problem(cls: type[Node[Any]], known: type[Node[Any]] | None, source: str) -> NodeModuleError | None:
    if not isinstance(cls.uses, str) or USES.fullmatch(cls.uses) is None:
        hint = "use one to four lowercase words joined by dots, like 'sales.parse'"
        return BadUses(f"{_path(cls)}: uses {cls.uses!r} is no valid name; {hint}", file=source)
    if known is not None:
        message = f"{_path(cls)}: uses {cls.uses!r} is taken by {_path(known)}; rename one of them"
        return DuplicateUses(message, file=source)
    return None


def _entry_modules() -> list[str]:
    entries = importlib.metadata.entry_points(group=ENTRY_POINTS)
    names = {entry.value for entry in entries}
    return sorted(names, key=lambda name: (name != ENTRY_POINTS, name))


def _is_path(value: str) -> bool:
    return value.endswith(".py") or "/" in value or Path(value).is_dir()


def _offer_module(catalog: Catalog, name: str) -> None:
    module = _attempt(catalog, name, lambda: importlib.import_module(name))
    if module is not None:
        _offer(catalog, module, source=name, digest=_digest_of(module))


def _offer_path(catalog: Catalog, path: Path, source: str) -> None:
    module = _attempt(catalog, source, lambda: _import_path(path))
    if module is not None:
        _offer(catalog, module, source=source, digest=_digest_files(path))


def _offer(catalog: Catalog, module: ModuleType, *, source: str, digest: str) -> None:
    for cls in _classes(catalog, module, source):
        catalog.add(cls, source=source, digest=digest)


def _classes(catalog: Catalog, module: ModuleType, source: str) -> Iterator[type[Node[Any]]]:
    """Yield the node classes that a module offers, submodules included, in a stable order."""
    listed = getattr(module, "__all__", None)
    for name in sorted(vars(module)) if listed is None else listed:
        value = getattr(module, name, None)
        if isinstance(value, ModuleType) and listed is not None:
            yield from _classes(catalog, value, source)
        elif _is_offered(value) and (listed is not None or value.__module__ == module.__name__):
            yield value
    if listed is None and hasattr(module, "__path__"):
        for name in _submodules(module):
            child = _attempt(catalog, f"{source} ({name})", lambda name=name: importlib.import_module(name))
            if child is not None:
                yield from _classes(catalog, child, source)


def _submodules(module: ModuleType) -> list[str]:
    found = pkgutil.iter_modules(module.__path__, module.__name__ + ".")
    return sorted(info.name for info in found if not info.name.rpartition(".")[2].startswith("_"))


def _is_offered(value: object) -> TypeGuard[type[Node[Any]]]:
    return isinstance(value, type) and issubclass(value, Node) and "uses" in vars(value) and bool(value.uses)


def _attempt(catalog: Catalog, source: str, load_module: Any) -> ModuleType | None:
    try:
        module: ModuleType = load_module()
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - a user's module may raise anything, or exit
        what = "".join(traceback.format_exception_only(exc)).strip().splitlines()[-1]
        catalog.errors.append(ImportFailed(f"{source}: {what}", file=source, reason=_story(exc)))
        return None
    return module


def _import_path(path: Path) -> ModuleType:
    """Import a file or folder under a private name: nothing that the user imports by name is shadowed.

    The name depends on the path only, so every process of an agent gives a class the same name.
    """
    path = path.resolve()
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    name = _PRIVATE + re.sub(r"\W", "_", path.stem) + "_" + hashlib.sha256(str(path).encode()).hexdigest()[:12]
    if name in sys.modules:
        return sys.modules[name]
    return _import_folder(name, path) if path.is_dir() else _import_file(name, path, package=None)


def _import_folder(name: str, folder: Path) -> ModuleType:
    """Import a folder as a package, so that its files can say `from .other import x`."""
    init = folder / "__init__.py"
    if init.exists():
        return _import_file(name, init, package=folder)
    module = ModuleType(name)
    module.__path__ = [str(folder)]
    sys.modules[name] = module
    return module


def _import_file(name: str, file: Path, *, package: Path | None) -> ModuleType:
    search = None if package is None else [str(package)]
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=search)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and pydantic look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _digest_of(module: ModuleType) -> str:
    """Return the digest of a module's whole top-level package; "" for treadle's own."""
    top = module.__name__.partition(".")[0]
    if top == "treadle":
        return ""
    root = sys.modules.get(top, module)
    folders = [Path(folder) for folder in getattr(root, "__path__", ())]
    return _digest_files(*folders) if folders else _digest_files(Path(root.__file__ or top))


def _digest_files(*paths: Path) -> str:
    """Return a digest of Python sources: their places below `paths` and their bytes."""
    total = hashlib.sha256()
    for path in paths:
        root = path.parent if path.is_file() else path
        for file in _sources(path):
            total.update(file.relative_to(root).as_posix().encode() + b"\0")
            total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:32]


def _sources(path: Path) -> Iterable[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.is_file() else []


def _story(exc: BaseException) -> str:
    """Return a short traceback: the last frames, which are the user's, without those of the import machinery."""
    report = traceback.TracebackException.from_exception(exc)
    report.stack[:] = [frame for frame in report.stack if "importlib" not in frame.filename][-3:]
    report.stack[:] = [frame for frame in report.stack if frame.filename != __file__]
    return "".join(report.format()).rstrip()


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
