"""The life of a loop in a thread of its own, be it in a thread host or the main thread of a loop process."""

from __future__ import annotations

import threading

from treadle_agent.frames import Ended
from treadle_agent.pools.host import PoolHost
from treadle_agent.pools.loop_run import LoopRun, ended, ended_by
from treadle_agent.pools.prints import current_run
from treadle_agent.pools.threaded_queues import ThreadedQueues


def live(run: LoopRun, queues: ThreadedQueues, host: PoolHost) -> Ended:
    """Run a loop from its tenure to its end, and say how that was; raises nothing."""
    current_run.set(run.number)
    run.placed(threading.get_native_id(), threading.get_ident())
    try:
        run.prepare()
        if run.leaving:
            return Ended(run.number, "drained")
        namespace = queues.of(run.assign.address.namespace, run.assign.redis_id)
        tenure = namespace.open(run.spec)
        try:
            manager = run.manage(tenure, host.began)
            return ended(run, manager.run())
        finally:
            namespace.close(tenure)
    except BaseException as exc:  # noqa: BLE001 - user code may raise anything, SystemExit included
        return ended_by(run, exc)
