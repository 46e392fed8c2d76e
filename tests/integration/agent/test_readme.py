"""The command of agent/README.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.agent.scripted import ScriptedController
from tests.pages import shell


def test_an_agent_is_started_as_the_page_says(controller: ScriptedController, redis_url: str, tmp_path: Path) -> None:
    (block,) = shell("agent/README.md")
    command = block.script.replace("10.0.0.5:7420", f"127.0.0.1:{controller.port}")
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TREADLE_AGENT_REDIS": redis_url,
        "TREADLE_AGENT_STATE_DIR": str(tmp_path / "state"),
    }
    with subprocess.Popen(["sh", "-euc", f"exec {command}"], env=env, cwd=tmp_path) as agent:
        try:
            controller.wait(lambda: bool(controller.hellos) or agent.poll() is not None, "a Hello")
            (hello,) = controller.hellos
            assert (hello.agent, dict(hello.labels)) == ("press-room", {"zone": "hall-2"})
            agent.terminate()
            assert agent.wait(30) == 0
        finally:
            agent.kill()
