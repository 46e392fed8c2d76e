"""What a node knows of where it runs: `self.context`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from treadle.node_config import NodeConfig

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from treadle.clock import Clock
    from treadle.loop.control import Control
    from treadle.loop.iteration import Iteration
    from treadle.loop.ports import Port
    from treadle.queues.tenure import Tenure
    from treadle.workflow.plan import Step


class NodeContext:
    """Names, the message under way, waiting, logging and tracing."""

    __slots__ = (
        "_clock",
        "_config",
        "_control",
        "_iteration",
        "_logger",
        "_planned",
        "_port",
        "_step",
        "_tenure",
        "_tracer",
        "attempt",
        "epoch",
        "loop",
        "namespace",
        "node",
        "replica",
        "revision",
        "workflow",
    )

    def __init__(
        self,
        *,
        tenure: Tenure,
        revision: str,
        planned: Step,
        step: int,
        iteration: Iteration,
        port: Port,
        control: Control,
        clock: Clock,
    ) -> None:
        self.namespace = tenure.namespace
        self.workflow, self.loop, self.replica = tenure.key
        self.revision = revision
        self.node = planned.node
        self.epoch = tenure.epoch
        self.attempt = 1  # of this execution, from 1
        self._planned = planned
        self._config: NodeConfig | None = None
        self._tenure = tenure
        self._step = step
        self._iteration = iteration
        self._port = port
        self._control = control
        self._clock = clock
        self._logger: logging.LoggerAdapter[logging.Logger] | None = None
        self._tracer: Tracer | None = None

    @property
    def config(self) -> NodeConfig:
        """The node's settings, as its author wrote them."""
        if self._config is None:
            self._config = NodeConfig.of(self._planned)
        return self._config

    @property
    def message_id(self) -> str | None:
        """The id of the message that this iteration works on; None when no queue feeds the loop."""
        message = self._iteration.message
        return None if message is None else message.message_id

    @property
    def effect_id(self) -> str:
        """Names this execution's effect outside, the same each time that the iteration is repeated."""
        return self._iteration.effect_id(self._step, self.node)

    @property
    def stopping(self) -> bool:
        """Whether the loop is being drained or stopped: long work should end soon."""
        return self._control.ending

    def now(self) -> float:
        """Seconds since the epoch by the loop's clock, which a test may drive."""
        return self._clock.time()

    def wait(self, seconds: float) -> Any:
        """Wait; return False when the loop began to stop before the time was over.

        An `async def` node awaits the result.
        """
        return self._port.finish(self._wait(seconds))

    async def _wait(self, seconds: float) -> bool:
        deadline = self._clock.monotonic() + seconds
        while (left := deadline - self._clock.monotonic()) > 0:
            if self._control.ending:
                return False
            await self._port.wait(left)
        return True

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records say which loop and node they are from."""
        if self._logger is None:
            names = ("namespace", "workflow", "loop", "replica", "node", "revision")
            fields = {name: getattr(self, name) for name in names}
            self._logger = logging.LoggerAdapter(logging.getLogger("treadle.node"), fields)
        return self._logger

    @property
    def tracer(self) -> Tracer:
        """An OpenTelemetry tracer."""
        if self._tracer is None:
            from opentelemetry import trace  # noqa: PLC0415 - costs 20 ms, and few nodes trace by hand

            self._tracer = trace.get_tracer("treadle.node")
        return self._tracer
