"""Workflow documents as they are named on the command line: files, folders, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wfctl.errors import BadUsage

# A byte more than a document may have: enough to refuse it, whatever its size.
_READ_LIMIT: Final = 4 * 1024 * 1024 + 1


@dataclass(frozen=True, slots=True)
class Document:
    """The bytes of one document, and where they are from."""

    source: str  # as findings name it
    stem: str  # the workflow's name when the document has none
    data: bytes


def read(names: Iterable[str], *, stem: str | None = None) -> list[Document]:
    """Read files, the `*.json` of folders in the order of their names, and `-` (named by `stem`).

    Raises BadUsage, naming the file, when one can't be read.
    """
    return [document for name in names for document in _read(name, stem)]


def _read(name: str, stem: str | None) -> Iterator[Document]:
    if not name:
        raise BadUsage("the name of a document is empty; name a file, a folder, or - for standard input")
    if name == "-":
        data = sys.stdin.buffer.read(_READ_LIMIT)
        yield Document("-", stem or "", data)
        return
    path = Path(name)
    for file in _files(path) if path.is_dir() else [path]:
        yield Document(str(file), stem or file.name.removesuffix(".json"), _content(file))


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.json"))
    if not files:
        raise BadUsage(f"{folder} holds no .json file; name a document, or a folder of documents")
    return files


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_READ_LIMIT)
    except FileNotFoundError as exc:
        raise BadUsage(f"there is no {file}; name an existing document") from exc
    except OSError as exc:
        raise BadUsage(f"{file} can't be read: {exc.strerror or exc}") from exc


def nodes_arguments(values: Sequence[str]) -> tuple[str, ...]:
    """Return --nodes values with paths made absolute. Raises BadUsage for a path that is not there."""
    found = []
    for value in values:
        is_path = value.endswith(".py") or "/" in value or Path(value).is_dir()
        if is_path and not Path(value).exists():
            raise BadUsage(f"--nodes {value}: there is no such file or folder")
        found.append(str(Path(value).resolve()) if is_path else value)
    return tuple(found)
