"""The queues of the namespaces that a thread host or loop process serves: one connected host each."""

from __future__ import annotations

import threading

from treadle.errors import QueueError, TenureLost
from treadle.queues.redis_host import RedisHost
from treadle.queues.redis_thread import ThreadedRedisHost


class ThreadedQueues:
    """Connects when a namespace is first needed; whoever comes meanwhile waits for the same connection."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._lock = threading.Lock()
        self._hosts: dict[tuple[str, str], ThreadedRedisHost] = {}
        self._gates: dict[tuple[str, str], threading.Lock] = {}

    def of(self, namespace: str, redis_id: str) -> ThreadedRedisHost:
        """Return the queues of a namespace. Raises QueueError when Redis does not answer."""
        key = (namespace, redis_id)
        with self._lock:
            gate = self._gates.setdefault(key, threading.Lock())
        with gate:
            known = self._hosts.get(key)
            if known is not None and known.wrong is not None:
                known.stop()  # by now the right Redis may be there
                known = None
            if known is None:
                self._hosts[key] = RedisHost.in_thread(self._url, namespace, self._name, expected_id=redis_id or None)
            return self._hosts[key]

    def attach(self, namespace: str, redis_id: str) -> None:
        """Connect in a thread beside; a failure is found again by the first loop that needs it."""
        threading.Thread(target=self._try, args=(namespace, redis_id), name="treadle attach", daemon=True).start()

    def _try(self, namespace: str, redis_id: str) -> None:
        try:
            self.of(namespace, redis_id)
        except (QueueError, TenureLost):
            return
