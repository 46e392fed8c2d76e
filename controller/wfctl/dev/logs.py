"""What nodes log, gathered in the background for the view."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from treadle.v1 import event_service_pb2
from wfctl.client import Client
from wfctl.errors import WfctlError
from wfctl.lines import log_line

_KEPT: Final = 1000
_RETRY_S: Final = 0.5


class LogReader:
    """Reads the log stream in a thread; it comes back when the controller does. At most the last lines are kept."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log reader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop reading; the client has to be closed by then, or soon."""
        self._stopping.set()

    def take(self) -> list[str]:
        """Return the lines that came since the last call."""
        taken = []
        while self._lines:
            taken.append(self._lines.popleft())
        return taken

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read()
            except (WfctlError, ValueError):  # ValueError: the channel was closed under us, at the end
                self._stopping.wait(_RETRY_S)

    def _read(self) -> None:
        request = event_service_pb2.StreamLogsRequest(namespace=self._client.settings.namespace)
        for answer in self._client.stream(self._client.events.StreamLogs, request):
            self._lines.extend(log_line(line, color=False) for line in answer.lines)
