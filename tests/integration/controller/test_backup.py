"""A restored store continues above anything that the lost one gave out."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.integration.controller.agent_client import ScriptedAgent
from tests.integration.controller.world import Client, ControllerProcess, document, loop
from treadle.v1 import loop_pb2

RUNNING = loop_pb2.LOOP_STATE_RUNNING
ONE = document("orders", loop("fetch"), loop("price"))
FETCH, PRICE = ("orders", "fetch", 0), ("orders", "price", 0)


def tool(controller: ControllerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "treadle_controller", *arguments, "--store", controller.store]
    return subprocess.run(
        command, env=controller.environment(), capture_output=True, text=True, timeout=60, check=False
    )


async def test_a_restored_store_goes_on_above_any_epoch_and_what_did_not_move_goes_on(
    controller: ControllerProcess, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one") as one:
        await client.apply(ONE)
        await client.until("orders", lambda it: it.state == RUNNING)
        made = await asyncio.to_thread(tool, controller, "backup", str(copy))
        again = await asyncio.to_thread(tool, controller, "backup", str(copy))
        for note in ("second", "third"):
            await client.apply(document("orders", loop("fetch", note=note), loop("price")))
            await client.until("orders", lambda it: it.state == RUNNING and it.rollout.state == 20)
        in_use = await asyncio.to_thread(tool, controller, "restore", str(copy), "--force")
        moved, stayed = one.epoch(FETCH), one.epoch(PRICE)
        controller.kill()
        unwilling = await asyncio.to_thread(tool, controller, "restore", str(copy))
        restored = await asyncio.to_thread(tool, controller, "restore", str(copy), "--force")
        controller.start()
        await one.disconnect()
        await one.connect()
        await one.until(lambda: one.epoch(FETCH) > moved, timeout_s=20)

        assert (made.returncode, again.returncode, restored.returncode) == (0, 1, 0), made.stderr + restored.stderr
        assert in_use.returncode == 1
        assert "another controller" in in_use.stderr
        assert "--force" in unwilling.stderr
        assert one.epoch(FETCH) > 1_000_000_000
        assert one.epoch(PRICE) == stayed
        async with Client(controller.address) as again_there:
            assert (await again_there.workflow("orders")).revision == 1


def test_what_is_no_backup_is_refused_with_one_sentence(controller: ControllerProcess, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_bytes(b"")

    controller.kill()
    refused = tool(controller, "restore", str(other), "--force")

    assert refused.returncode == 1
    assert "no schema of treadle" in refused.stderr
    assert "Traceback" not in refused.stderr
