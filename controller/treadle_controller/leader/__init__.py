"""The one shell around `cluster`: events and time in, its actions out to the store, to Redis and to agents.

    requests, reports, time -> Image (memory) -> reconcile -> store (epochs first) -> Redis (ASSIGN) -> sessions

Memory is changed first and its write handed to the store in the same breath, so the order of writes is the order
of changes; nothing leaves this process before its write is on disk.
"""

from treadle_controller.leader.leader import Leader

__all__ = ["Leader"]
