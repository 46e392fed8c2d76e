"""What is recorded of one iteration: its spans, from what it received to its commit.

iteration w/l                  the whole; links to where its message comes from, or is below that (`tracing: parent`)
  receive orders               the message that feeds it
  process orders               all that nodes do with it
    double                     an execution of a node; below it an `attempt 2` when it had to be tried again
    send results               a push, whose context travels in the message
  settle orders                the commit
"""

from __future__ import annotations

from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from treadle.loop.outcome import shown
from treadle.telemetry import conventions as c
from treadle.telemetry.origin import Origin, new_trace_id, read_origin
from treadle.telemetry.span import Kind, Span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.headers import MessageHeaders
    from treadle.loop.step import Step

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
MAX_SPANS: Final = 1_000  # of one iteration; a list may run the same nodes ten thousand times


class Recording:
    """One iteration. Times that are handed in are those of `perf_counter_ns`, as metrics take them."""

    def __init__(self, name: str, attributes: Mapping[str, Any], *, start: int, parented: bool) -> None:
        self._offset = time_ns() - perf_counter_ns()
        self._parented = parented
        self._attributes = attributes
        self._brief = {key: attributes[key] for key in (c.WORKFLOW, c.LOOP)}  # of spans inside, which are many
        self._root = Span(name, new_trace_id(), start=start + self._offset, attributes=attributes)
        self._process: Span | None = None
        self._carried: Mapping[str, Any] | None = None  # headers of the message that feeds it
        self._execution: Span | None = None
        self._attempt: Span | None = None
        self._step = -1  # that is being executed
        self._sending = False  # it is a queue step: its own span is what it sends
        self._mark = 0
        self._open_ended = False  # it failed, and whether it is tried again is not known yet
        self._spans: list[Span] = []
        self.worked = False  # there was something to do

    @property
    def origin(self) -> Origin:
        """Where what comes of this iteration as a whole comes from."""
        return self._root.origin

    @property
    def queue(self) -> str | None:
        """The queue that feeds it."""
        return None if self._process is None else str(self._process.attributes[c.MESSAGING_DESTINATION_NAME])

    def mark(self, key: str, value: Any) -> None:
        """Add an attribute to the whole."""
        self._root.attributes[key] = value

    # What it takes in and gives out.

    def fed(self, headers: MessageHeaders) -> None:
        """Begin to process a message."""
        now = self._now()
        origin, root = read_origin(headers.carried), self._root
        self.worked = True
        self._carried = headers.carried
        links = () if origin is None else (origin,)
        if origin is not None and self._parented and origin.sampled:
            root.trace_id, root.parent_id, root.remote_parent = origin.trace_id, origin.span_id, True
            root.state = origin.state
        else:
            root.links = links
        receive = root.child(f"{c.RECEIVE} {headers.queue}", root.start, Kind.CLIENT, links=links)
        receive.attributes = self._messaging(c.RECEIVE, headers.queue, headers.message_id)
        receive.end = now
        self._spans.append(receive)
        self._process = root.child(f"{c.PROCESS} {headers.queue}", now, Kind.CONSUMER, links=links)
        self._process.attributes = self._messaging(c.PROCESS, headers.queue, headers.message_id)

    def received(self, queue: str, message_id: str, carried: Mapping[str, Any] | None) -> None:
        """Note that a node popped a message."""
        origin, now = read_origin(carried), self._now()
        span = self._under().child(f"{c.RECEIVE} {queue}", now, Kind.CLIENT, links=() if origin is None else (origin,))
        span.attributes = self._messaging(c.RECEIVE, queue, message_id)
        self._spans.append(span)

    def sends(self, queue: str, headers: Mapping[str, Any] | None) -> dict[str, Any]:
        """Note a push; returns the headers with which the message goes."""
        span = self._execution if self._sending and self._execution is not None else self._sent(queue)
        going = {**(headers or {}), c.TRACEPARENT: span.origin.traceparent}
        going.pop(c.TRACESTATE, None)
        if span.state:
            going[c.TRACESTATE] = span.state
        if self._carried is not None and c.BAGGAGE in self._carried:
            going.setdefault(c.BAGGAGE, self._carried[c.BAGGAGE])
        return going

    def _sent(self, queue: str) -> Span:
        span = self._under().child(f"{c.SEND} {queue}", self._now(), Kind.PRODUCER)
        span.attributes = self._messaging(c.SEND, queue)
        self._spans.append(span)
        return span

    # Executions and attempts.

    def executing(self, step: Step, attempt: int) -> _Executing:
        """Record one attempt of a step for the length of a `with`; what it does meanwhile belongs to it."""
        return _Executing(self, step, attempt)

    def began(self, step: Step, attempt: int) -> object | None:
        """Begin an attempt of a step; returns what `ended` wants back."""
        self._enter(step, attempt)
        if self._sending:
            return None  # no code of anybody's that might ask
        span = self._under()
        return attach(set_span_in_context(NonRecordingSpan(SpanContext(span.trace_id, span.span_id, False, _SAMPLED))))

    def ended(self, token: Any, error: BaseException | None, attempt: int) -> None:
        """End an attempt, which raised or did not."""
        if token is not None:
            detach(token)
        if error is None:
            self._succeeded()
        else:
            self.failed(error, perf_counter_ns(), attempt)

    def missed(self, step: Step, start: int) -> None:
        """Begin the execution of a step that failed before it was known that it would be recorded."""
        self._enter(step, 1)
        if self._execution is not None:
            self._execution.start = start + self._offset

    def blames(self, step: Step) -> bool:
        """Tell whether it is known already that this step has raised."""
        return self._open_ended and self._step == step.at

    def failed(self, error: BaseException, end: int, attempt: int) -> None:
        """End an attempt that raised."""
        execution = self._execution
        if execution is None:
            return
        span = self._attempt or execution.child(f"attempt {attempt}", execution.start, attributes=self._brief)
        span.attributes.setdefault(c.ATTEMPT, attempt)
        span.end = execution.end = end + self._offset
        self._blame(span, error)
        self._blame(execution, error)
        self._forget_sent(self._mark)
        self._keep(span)
        self._attempt, self._open_ended = None, True

    def _enter(self, step: Step, attempt: int) -> None:
        now = self._now()
        if attempt == 1 or self._execution is None or self._step != step.at:
            self._close_execution()
            self._execution = self._span_of(step, now)
            self._step, self._sending = step.at, step.pushes is not None
        if attempt > 1:
            self._attempt = self._execution.child(
                f"attempt {attempt}", now, attributes={**self._brief, c.ATTEMPT: attempt}
            )
        self._mark, self._open_ended = len(self._spans), False

    def _span_of(self, step: Step, now: int) -> Span:
        parent = self._process or self._root
        if step.pushes is not None:
            span = parent.child(f"{c.SEND} {step.pushes}", now, Kind.PRODUCER)
            span.attributes = self._messaging(c.SEND, step.pushes)
        else:
            span = parent.child(step.node_id, now, attributes=self._brief)
        span.attributes[c.NODE] = step.node_id
        if step.uses is not None:
            span.attributes[c.USES] = step.uses
        return span

    def _succeeded(self) -> None:
        now, execution = self._now(), self._execution
        if self._attempt is not None:
            self._attempt.end = now
            self._keep(self._attempt)
        if execution is not None:
            execution.end, execution.error = now, None
            execution.attributes.pop(c.ERROR_TYPE, None)
            self._keep(execution)
        self._execution = self._attempt = None

    def _close_execution(self) -> None:
        if self._execution is not None:
            self._keep(self._execution)
        self._execution = self._attempt = None

    # Its end.

    def gave_up(self, error: str, error_type: str) -> None:
        """Note that the iteration is given up: nothing that it pushed is sent."""
        self._close_execution()
        self._forget_sent(0)
        for span in (self._root, self._process):
            if span is not None:
                span.error, span.attributes[c.ERROR_TYPE] = error, error_type

    def finish(self, end: int) -> None:
        """End it, its commit apart."""
        self._close_execution()
        self._root.end = end + self._offset
        if self._process is not None:
            self._process.end = self._root.end
            self._spans.append(self._process)
        self._spans.append(self._root)

    def committed(self, operation: str, end_ns: int) -> None:
        """Add the commit, which is over now. `end_ns` is in nanoseconds since the epoch."""
        queue, root = self.queue, self._root
        name = f"{c.SETTLE} {queue}" if queue else "commit"
        span = root.child(name, root.end, Kind.CLIENT)
        span.attributes = dict(self._attributes) if queue is None else self._messaging(c.SETTLE, queue)
        if queue is not None:
            span.attributes[c.MESSAGING_OPERATION_NAME] = operation
        root.end = span.end = max(end_ns, root.end)
        self._spans.append(span)

    @property
    def spans(self) -> list[Span]:
        """All spans that have ended."""
        return self._spans

    # Parts.

    def _now(self) -> int:
        return perf_counter_ns() + self._offset

    def _under(self) -> Span:
        return self._attempt or self._execution or self._process or self._root

    def _keep(self, span: Span) -> None:
        if len(self._spans) < MAX_SPANS:
            self._spans.append(span)

    def _messaging(self, operation: str, queue: str, message_id: str | None = None) -> dict[str, Any]:
        attributes = {
            c.MESSAGING_SYSTEM: c.SYSTEM,
            c.MESSAGING_OPERATION_NAME: operation,
            c.MESSAGING_OPERATION_TYPE: operation,
            c.MESSAGING_DESTINATION_NAME: queue,
            **self._attributes,
        }
        if operation in (c.RECEIVE, c.PROCESS, c.SETTLE):
            attributes[c.MESSAGING_CONSUMER_GROUP_NAME] = f"{attributes[c.WORKFLOW]}/{attributes[c.LOOP]}"
        if message_id is not None:
            attributes[c.MESSAGING_MESSAGE_ID] = message_id
        return attributes

    def _forget_sent(self, since: int) -> None:
        self._spans[since:] = [span for span in self._spans[since:] if span.kind is not Kind.PRODUCER]

    def _blame(self, span: Span, error: BaseException) -> None:
        span.error, span.attributes[c.ERROR_TYPE] = shown(error)[:1_000], type(error).__name__
        story = {c.EXCEPTION_TYPE: type(error).__name__, c.EXCEPTION_MESSAGE: span.error}
        span.events = [(span.end, c.EXCEPTION, story)]


class _Executing:
    """A class, since what `contextmanager` makes takes three times as long."""

    __slots__ = ("_attempt", "_recording", "_step", "_token")

    def __init__(self, recording: Recording, step: Step, attempt: int) -> None:
        self._recording = recording
        self._step = step
        self._attempt = attempt

    def __enter__(self) -> None:
        self._token = self._recording.began(self._step, self._attempt)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._recording.ended(self._token, error, self._attempt)
