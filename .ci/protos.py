"""Generate agent/treadle/v1 from protos/, or check that what is committed is what would be generated."""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PACKAGE = Path("treadle/v1")
COMMITTED = ROOT / "agent" / PACKAGE
HEADER = '"""The wire contract in Python, generated from protos/treadle/v1 by `make protos`."""\n'


def compile_protos(pattern: str, target: Path, *kinds: str) -> None:
    """Have protoc write some kinds of output for the files that match."""
    scripts = Path(sysconfig.get_path("scripts"))
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        *(f"-I{folder}" for folder in (PROTOS, files("grpc_tools") / "_proto")),
        *(f"--plugin={plugin}={scripts / plugin}" for plugin in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")),
        *(f"--{kind}_out={target}" for kind in kinds),
        *sorted(str(path) for path in (PROTOS / PACKAGE).glob(pattern)),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)


def generate(target: Path) -> None:
    """Write the messages, the gRPC stubs of the services, and the types of both below the target folder."""
    compile_protos("*.proto", target, "python", "mypy")
    compile_protos("*_service.proto", target, "grpc_python", "mypy_grpc")
    (target / PACKAGE / "__init__.py").write_text(HEADER, encoding="utf-8")


def listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()


def differences(fresh: Path, committed: Path) -> list[str]:
    """Return the names of the files that are missing, left over or not the same."""
    names = listing(fresh) | listing(committed)
    _, different, missing = filecmp.cmpfiles(fresh, committed, names, shallow=False)
    return sorted(different + missing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when something would change")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = Path(scratch) / PACKAGE
        if not arguments.check:
            shutil.rmtree(COMMITTED, ignore_errors=True)
            shutil.copytree(fresh, COMMITTED)
        elif stale := differences(fresh, COMMITTED):
            sys.exit(f"agent/treadle/v1 is not what protos/ says: {', '.join(stale)}; run `make protos`")


if __name__ == "__main__":
    main()
