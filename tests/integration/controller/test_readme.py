"""The commands of controller/README.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.pages import Block, shell
from tests.servers import TestServer

PLACE = "/etc/treadle"


def begin(block: Block, folder: Path) -> subprocess.Popen[str]:
    """Start what a block says, in a folder that stands in for /etc/treadle."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["sh", "-euc", f"exec {block.script.replace(PLACE, str(folder))}"]
    pipe: Any = subprocess.PIPE
    return subprocess.Popen(command, env=env, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def test_the_commands_of_the_page_work(valkey: TestServer, tmp_path: Path) -> None:
    serve, init = shell("controller/README.md")
    with begin(init, tmp_path) as made:
        said = made.communicate()
    assert made.returncode == 0, said
    tls = tmp_path / "tls" / "controller"

    settings = {
        "listen": "127.0.0.1:0",
        "http_listen": "127.0.0.1:0",
        "redis": valkey.url,
        "store": f"sqlite:///{tmp_path / 'store.db'}",
        "tls_cert": str(tls / "cert.pem"),
        "tls_key": str(tls / "key.pem"),
        "tls_client_ca": str(tls / "ca.pem"),
        "tls_ca_key": str(tls / "ca-key.pem"),
    }
    lines = (f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    (tmp_path / "controller.toml").write_text("".join(lines))
    with begin(serve, tmp_path) as daemon:
        try:
            assert daemon.stdout is not None
            assert json.loads(daemon.stdout.readline() or "{}").get("grpc"), "it says where it serves"
            daemon.terminate()
            _, err = daemon.communicate(timeout=30)
            assert (daemon.returncode, "Traceback" in err) == (0, False), err
        finally:
            daemon.kill()
