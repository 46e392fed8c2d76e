"""The client in C++: generated, compiled and linked once for each content of all that goes into it."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from google.rpc import error_details_pb2

ROOT = Path(__file__).resolve().parents[3]
SOURCES = Path(__file__).parent / "cpp"
BUILD = SOURCES / "build"
SERVICES = ("workflow", "queue", "event")
PROTOS = (
    *(f"treadle/v1/{name}_service.proto" for name in SERVICES),
    *(f"treadle/v1/{name}.proto" for name in (*SERVICES, "loop")),
    "google/rpc/status.proto",
    "google/rpc/error_details.proto",
)
LIBRARIES = ("-lgrpc++", "-lgrpc", "-lgpr", "-lprotobuf", "-labsl_synchronization", "-lpthread")
COMPILE = ("g++", "-std=c++17", "-O0", "-Wall", "-Wextra", "-Wno-unused-parameter", "-c")


class BuildFailed(Exception):
    """A step failed; the message is what it said."""


def build() -> Path:
    """Return the program, built unless it is there. Raises BuildFailed."""
    BUILD.mkdir(exist_ok=True)
    with (SOURCES / "suite.cc").open("rb") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        stubs = BUILD / f"stubs-{_digest(_folders(), PROTOS, [Path(__file__)])}"
        program = BUILD / f"suite-{_digest([SOURCES], ('suite.cc', 'messagepack.h'), [stubs])}"
        if not (stubs / "generated.o").exists():
            _compile_stubs(stubs)
        if not program.exists():
            unlinked = program.with_suffix(".o")
            _run(*COMPILE, "-isystem", str(stubs), "-I", str(SOURCES), str(SOURCES / "suite.cc"), "-o", str(unlinked))
            _run("g++", str(unlinked), str(stubs / "generated.o"), "-o", str(program), *LIBRARIES)
        return program


def _folders() -> list[Path]:
    return [ROOT / "protos", Path(error_details_pb2.__file__).parents[2]]


def _digest(folders: Iterable[Path], names: Iterable[str], more: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for name in names:
        path = next(folder / name for folder in folders if (folder / name).exists())
        found.update(path.read_bytes())
    for path in more:
        found.update(path.read_bytes() if path.is_file() else path.name.encode())
    return found.hexdigest()[:16]


def _compile_stubs(target: Path) -> None:
    target.mkdir(exist_ok=True)
    plugin = shutil.which("grpc_cpp_plugin")
    includes = [f"-I{folder}" for folder in (*_folders(), "/usr/include")]
    _run("protoc", *includes, f"--cpp_out={target}", *PROTOS)
    services = [name for name in PROTOS if name.endswith("_service.proto")]
    _run("protoc", *includes, f"--grpc_out={target}", f"--plugin=protoc-gen-grpc={plugin}", *services)
    (target / "generated.cc").write_text(_all_in_one(target))
    _run(*COMPILE, "-w", "-I", str(target), str(target / "generated.cc"), "-o", str(target / "generated.o"))


def _all_in_one(target: Path) -> str:
    """Return one source with all that was generated: its headers take longer to read than all else."""
    lines = []
    for number, path in enumerate(sorted(target.rglob("*.cc"))):
        clashing = ("schemas", "file_default_instances")  # local names that each of them has
        lines += [f"#define {name} {name}_{number}" for name in clashing]
        lines.append(f'#include "{path.relative_to(target)}"')
        lines += [f"#undef {name}" for name in clashing]
    return "\n".join(lines) + "\n"


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise BuildFailed(f"{' '.join(command)}\n{done.stderr}")
