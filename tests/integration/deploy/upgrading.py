"""A ledger that is written on a site's hosts while they get another version, and that other version."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Final

from tests.acceptance.documents import Document, edges, node
from tests.chaos.cluster_net.builds import NEWER, raise_protocol
from tests.integration.deploy.site import ROOT, Site

LEDGER: Final = "ledger"
_READ: Final = """
import json, pathlib, sys
from tests.chaos.cluster_net.reading import payloads
password = pathlib.Path("/etc/treadle/redis-password").read_text()
print(json.dumps([one["n"] for one in payloads(f"redis://:{password}@10.20.0.1:6379/0", sys.argv[1])]))
"""


def document(interval: str = "3ms") -> Document:
    """Return what counts, and hands on what it counted: 0, 1, 2, ... has to arrive, each once and in order."""
    kept = {"queue": LEDGER, "external": True, "limits": {"messages": None, "bytes": None}}
    return {
        "name": LEDGER,
        "nodes": [
            node("count", "producer", 0, uses="generate", interval=interval, pool="thread"),
            node("put", "queue", 200, queue="numbers"),
            node("move", "queue-reader", 400, queue="numbers", pool="process"),
            node("book", "queue", 600, **kept),
        ],
        "edges": edges(("count", "put"), ("put", "move"), ("move", "book")),
    }


def numbers(site: Site) -> list[int]:
    """Return what has arrived in the ledger."""
    done = site.run("control", f"PYTHONPATH={ROOT} /opt/treadle/current/bin/python -c '{_READ}' {LEDGER}")
    assert done.returncode == 0, done.stderr
    listed: list[int] = json.loads(done.stdout)
    return listed


def newer_checkout(checkout: Path, folder: Path) -> Path:
    """Copy a checkout, and give the copy a version and a protocol that come later."""
    shutil.copytree(checkout, folder)
    project = folder / "pyproject.toml"
    project.write_text(re.sub(r'(?m)^version = ".*"$', f'version = "{NEWER}"', project.read_text()))
    raise_protocol(folder)
    return folder


def release_of(site: Site, host: str, service: str) -> str:
    """Return the release whose programs a service runs."""
    done = site.run(host, f"cat /proc/$(cat /run/{service}.service.pid)/cmdline | tr '\\0' ' '")
    found = re.match(r"/opt/treadle/releases/(\S+?)-[0-9a-f]{12}/", done.stdout)
    assert found, (done.stdout, done.stderr)
    return found[1]


def spread_releases(site: Site, source: str, *hosts: str) -> None:
    """Give other hosts the releases that one has built: a build takes ten seconds, and they are all the same."""
    releases = [path for path in (site.folder / source / "opt" / "releases").iterdir() if path.name.startswith(NEWER)]
    for host in hosts:
        for release in releases:
            place = site.folder / host / "opt" / "releases" / release.name
            if not place.exists():
                shutil.copytree(release, place, symlinks=True, copy_function=os.link)
