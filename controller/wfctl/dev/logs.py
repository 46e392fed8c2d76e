"""What nodes log, gathered in the background for the view."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Final

from treadle.v1 import event_service_pb2
from wfctl.client import Client
from wfctl.errors import NotFound, WfctlError
from wfctl.lines import log_line

_KEPT: Final = 1000
_RETRY_S: Final = 0.5


class LogReader:
    """Reads the log stream of each workflow in a thread of its own; comes back when the controller does.

    Lines are shown from now on, and at most the last ones are kept.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._stopping = threading.Event()
        self._threads: dict[str, threading.Thread] = {}

    def follow(self, workflows: Iterable[str]) -> None:
        """Read the logs of these workflows too."""
        for name in workflows:
            if name not in self._threads or not self._threads[name].is_alive():
                thread = threading.Thread(target=self._run, args=(name,), name=f"logs of {name}", daemon=True)
                self._threads[name] = thread
                thread.start()

    def stop(self) -> None:
        """Stop reading; what still blocks ends when the client is closed."""
        self._stopping.set()

    def take(self) -> list[str]:
        """Return the lines that came since the last call."""
        taken = []
        while self._lines:
            taken.append(self._lines.popleft())
        return taken

    def _run(self, workflow: str) -> None:
        while not self._stopping.is_set():
            try:
                self._read(workflow)
            except NotFound:
                return  # deleted
            except (WfctlError, ValueError):  # ValueError: the channel was closed under us, at the end
                self._stopping.wait(_RETRY_S)

    def _read(self, workflow: str) -> None:
        request = event_service_pb2.StreamLogsRequest(namespace=self._client.settings.namespace, workflow=workflow)
        for answer in self._client.stream(self._client.events.StreamLogs, request):
            self._lines.extend(log_line(line, color=False, when=False) for line in answer.lines)
