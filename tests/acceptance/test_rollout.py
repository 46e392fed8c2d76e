"""Revisions as people meet them: one that is bad goes back, and every caller is told what became of theirs."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

from tests.acceptance.documents import Document, ledger, save
from tests.acceptance.running import Dev, environment


def broken(document: Document) -> Document:
    """Return a revision whose middle node raises at once, with little time to become healthy."""
    changed = copy.deepcopy(document)
    next(one for one in changed["nodes"] if one["id"] == "double")["data"]["with"] = {
        "set": {"twice": "data.nothing_of_the_kind * 2"}
    }
    return {**changed, "rollout": {"progress_deadline": "3s"}}


def history(cluster: Dev, workflow: str) -> dict[int, str]:
    listed = cluster.wfctl("rollout", "history", workflow, "-o", "json").json["revisions"]
    return {int(one["number"]): one["state"].removeprefix("ROLLOUT_STATE_") for one in listed}


def test_a_bad_revision_goes_back_by_itself_and_apply_says_so(cluster: Dev) -> None:
    good = ledger("rolling", interval="20ms")
    assert cluster.wfctl("apply", "-f", save(cluster.folder, good)).code == 0

    ran = cluster.wfctl("apply", "-f", save(cluster.folder, broken(good)))

    assert ran.code == 6, ran.err
    assert "rolling: revision 2 went back, as revision 3: not-healthy: move was not healthy within 3 s" in ran.err
    assert cluster.wfctl("rollout", "status", "rolling").code == 0
    assert history(cluster, "rolling") == {1: "HEALTHY", 2: "RETURNED", 3: "HEALTHY"}
    events = cluster.wfctl("describe", "workflow", "rolling")
    assert "rollout-returned" in events.out


def test_plan_says_what_apply_then_does_and_undo_takes_it_back(cluster: Dev) -> None:
    first = ledger("planned", interval="20ms")
    assert cluster.wfctl("apply", "-f", save(cluster.folder, first)).code == 0
    second = ledger("planned", interval="30ms")
    path = save(cluster.folder, second)

    planned = cluster.wfctl("plan", path, "-o", "json")
    ran = cluster.wfctl("apply", "-f", path)

    assert (planned.code, ran.code) == (1, 0)
    will = {one["loop"]: (one["kind"], one["agents"]) for one in planned.json["changes"]}
    assert {name: kind for name, (kind, _) in will.items()} == {
        "count": "CHANGE_KIND_CHANGED",
        "move": "CHANGE_KIND_UNCHANGED",
        "store": "CHANGE_KIND_UNCHANGED",
    }
    loops = cluster.wfctl("get", "loops", "planned", "-o", "json").json["loops"]
    assert {one["name"]: [one["instances"][0]["agent"]] for one in loops} == {
        name: agents for name, (_, agents) in will.items()
    }

    undone = cluster.wfctl("rollout", "undo", "planned", "--to", "1")

    assert undone.code == 0, undone.err
    assert "count" in undone.out
    assert history(cluster, "planned") == {1: "HEALTHY", 2: "HEALTHY", 3: "HEALTHY"}
    assert cluster.wfctl("diff", save(cluster.folder, first)).code == 0
    assert cluster.wfctl("rollout", "undo", "planned", "--to", "99").code == 4
    assert cluster.wfctl("rollout", "undo", "planned", "--if-revision", "1").code == 5


def test_of_many_applies_at_once_each_caller_is_told_truly(cluster: Dev) -> None:
    contested = {f"{number}0ms": ledger("contested", interval=f"{number}0ms") for number in range(1, 7)}
    callers = {
        interval: subprocess.Popen(
            [sys.executable, "-m", "wfctl", "--address", cluster.address, "apply", "-f", "-"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for interval in contested
    }
    for interval, caller in callers.items():
        assert caller.stdin is not None
        caller.stdin.write(json.dumps(contested[interval]).encode())
        caller.stdin.close()
        caller.stdin = None
    told = {interval: (caller.communicate(timeout=90), caller.returncode) for interval, caller in callers.items()}

    codes = {interval: code for interval, (_, code) in told.items()}
    last = next(one for one in contested.values() if cluster.wfctl("diff", save(cluster.folder, one)).code == 0)
    winner = last["nodes"][0]["data"]["interval"]
    assert codes[winner] == 0, told[winner]
    assert set(codes.values()) <= {0, 5}, told


def test_apply_does_not_wait_for_a_loop_whose_only_message_became_a_dead_letter(cluster: Dev) -> None:
    document = {**broken(ledger("stalled", interval="1h")), "rollout": {"progress_deadline": "1h"}}
    look = "see: wfctl why stalled/move, wfctl dlq ls stalled-numbers"

    ran = cluster.wfctl("apply", "-f", save(cluster.folder, document), "--wait-timeout", "10m")

    assert ran.code == 8, ran.err
    assert "stalled/move makes no progress: node double fails (expression-failed: " in ran.err
    assert f"1 dead letter, and for 5s nothing more to do; {look}" in ran.err
    assert history(cluster, "stalled") == {1: "PROGRESSING"}, "the rollout itself goes on"
    late = cluster.wfctl("rollout", "status", "stalled", "--wait-timeout", "2s")
    assert late.code == 6
    assert "the rollout is not over after 2s: stalled/move runs, but node double fails" in late.err
    cluster.wfctl("delete", "workflow", "stalled", "--with-queues")
