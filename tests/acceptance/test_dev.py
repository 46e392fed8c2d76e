"""`wfctl dev` as a newcomer meets it."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.acceptance.documents import ledger, node, save
from tests.acceptance.running import WORKFLOWS, command_of, dev, figures, marked, wait_until
from treadle.queues.embedded import EmbeddedServer


def test_real_figures_flow_through_three_pools_and_the_session_ends_by_itself(tmp_path: Path) -> None:
    with dev(tmp_path, str(WORKFLOWS / "host-metrics.json"), "--for", "8s") as running:
        assert running.wait() == 0, running.err

    loops, queues = figures(running.out)
    assert {"host-metrics/sample", "host-metrics/watch", "host-metrics/store"} <= set(loops)
    assert all(loop["errors"] == 0 for loop in loops.values())
    assert loops["host-metrics/sample"]["committed"] >= 20
    assert loops["host-metrics/store"]["committed"] >= 2
    assert queues["host-samples"]["pushed"] == loops["host-metrics/sample"]["committed"]
    for queue in queues.values():
        assert queue["pushed"] == queue["committed"] + queue["depth"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_without_a_traceback(tmp_path: Path, number: signal.Signals) -> None:
    with dev(tmp_path, str(WORKFLOWS / "host-metrics.json")) as running:
        wait_until(lambda: "RUNNING" in running.out, "a loop runs")

        assert running.stop(number) == 0

    assert "loop host-metrics/sample committed=" in running.out


def test_a_signal_while_things_are_still_starting_stops_everything_too(tmp_path: Path) -> None:
    with dev(tmp_path, str(WORKFLOWS / "host-metrics.json")) as running:
        wait_until(lambda: len(marked(running.mark)) >= 3, "some processes are there")

        assert running.stop() == 0


def test_a_second_signal_stops_everything_at_once(tmp_path: Path) -> None:
    with dev(tmp_path, str(WORKFLOWS / "host-metrics.json")) as running:
        wait_until(lambda: "RUNNING" in running.out, "a loop runs")

        running.kill(signal.SIGINT)
        running.stop(signal.SIGINT)


def test_nothing_outlives_a_session_that_is_killed(tmp_path: Path) -> None:
    with dev(tmp_path, save(tmp_path, ledger("ledger"))) as running:
        wait_until(lambda: running.out.count("RUNNING") >= 3, "the loops run")

        os.kill(running.pid, signal.SIGKILL)

        wait_until(lambda: not marked(running.mark), "all processes are gone", 10)


def test_a_loop_in_error_ends_the_session_with_exit_code_6(tmp_path: Path) -> None:
    document = {
        "name": "broken",
        "nodes": [
            node("count", "producer", 0, uses="generate", restart={"mode": "never"}, **{"with": {"limit": 3}}),
            node(
                "fail",
                "blocking",
                200,
                uses="transform",
                retry={"max_attempts": 1},
                **{"with": {"set": {"x": "data.nothing"}}},
            ),
        ],
        "edges": [{"id": "e", "source": "count", "target": "fail"}],
    }
    with dev(tmp_path, save(tmp_path, document)) as running:
        assert running.wait() == 6

    assert "broken/count is in ERROR" in running.err
    assert "loop broken/count committed=0 errors=" in running.out


def test_a_document_with_errors_ends_the_session_with_its_findings(tmp_path: Path) -> None:
    document = ledger("wrong")
    document["edges"].append({"id": "dangling", "source": "count", "target": "nobody"})
    with dev(tmp_path, save(tmp_path, document)) as running:
        assert running.wait() == 3

    assert "dangling-edge" in running.out


def test_a_taken_port_is_said_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with dev(tmp_path, "--port", str(taken.getsockname()[1])) as running:
            assert running.wait() == 2

    assert "--port 0" in running.err


def test_a_controller_that_dies_is_started_again_and_no_loop_notices(tmp_path: Path) -> None:
    with dev(tmp_path, save(tmp_path, ledger("ledger", interval="10ms"))) as running:
        wait_until(lambda: running.out.count("RUNNING") >= 3, "the loops run")
        before = running.loop("ledger/count")["instances"][0]
        (pid,) = (pid for pid in marked(running.mark) if "treadle_controller" in command_of(pid))

        os.kill(pid, signal.SIGKILL)

        wait_until(lambda: "controller ended with signal 9; started again" in running.out, "its death is noticed")
        wait_until(lambda: "the controller is back" in running.out, "it is back")
        wait_until(lambda: running.loop("ledger/count")["state"] == "LOOP_STATE_RUNNING", "the loop is adopted")
        after = running.loop("ledger/count")["instances"][0]
        assert after["epoch"] == before["epoch"]
        assert after["status"]["processId"] == before["status"]["processId"]
        assert running.stop() == 0


def test_a_server_of_ones_own_is_used_instead_of_the_embedded_one(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "redis")
    server.start()
    try:
        with dev(tmp_path, save(tmp_path, ledger("ledger", limit=10)), WF_REDIS=server.url) as running:
            assert running.wait() == 0
    finally:
        server.stop()

    assert "loop ledger/store committed=10 errors=0" in running.out
    assert server.password not in running.out + running.err
