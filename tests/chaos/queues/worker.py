"""One loop in a process of its own, as a pool host runs it: RedisHost, tenure, LoopManager."""

from __future__ import annotations

import traceback
from pathlib import Path

import msgspec

from tests.chaos.queues.flow import Order, Report, plan_of, spec_of
from tests.chaos.queues.nodes import CATALOG
from treadle.errors import QueueError, TenureLost
from treadle.loop import LoopManager, build_nodes
from treadle.queues.redis_host import RedisHost


def live(order: Order) -> None:
    """Run the loop to its end and leave a report."""
    try:
        report = _run(order)
    except TenureLost as lost:
        report = Report("lost", lost.reason, str(lost.details))
    except QueueError as error:
        report = Report("unreachable", "", str(error))
    except Exception:  # noqa: BLE001 - whatever it is, the play wants to know
        report = Report("crashed", "", traceback.format_exc())
    leave(order, report)


def leave(order: Order, report: Report) -> None:
    """Leave a report, whole or not at all."""
    path = Path(order.report)
    draft = path.with_suffix(".draft")
    draft.write_bytes(msgspec.json.encode(report))
    draft.replace(path)


def _run(order: Order) -> Report:
    host = RedisHost.in_thread(order.url, order.namespace, str(order.key), expected_id=order.redis_id)
    tenure = host.open(spec_of(order))
    plan = plan_of(order, tenure.pipeline._nonce_root)
    outcome = LoopManager(plan, build_nodes(plan, CATALOG), tenure).run()
    error = outcome.error
    code, detail = (error.code, f"{error.message} {error.traceback}") if error else ("", "")
    if tenure.lost is not None:
        detail += f" {tenure.lost.details}"
    return Report(outcome.kind, code, detail, tenure.committed)
