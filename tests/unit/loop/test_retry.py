"""The NodeRetryPolicy, as a table; and what becomes of a failure that is exhausted."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import BadMessage, BadOutput, IterationTimeout, NotEncodable, Permanent, Retry
from treadle.loop.failure import Action, Again, Failure, Place, decide
from treadle.loop.retry import NodeRetryPolicy, names_of
from treadle.workflow.plan import RetryPolicy

PLAIN = RetryPolicy(jitter="none")


class Busy(ConnectionError):
    """A user's own error."""


def delay(settings: RetryPolicy = PLAIN, error: BaseException | None = None, **given: Any) -> float | None:
    facts = {"attempt": 1, "elapsed_s": 0.0, "chance": 0.5, **given}
    return NodeRetryPolicy(settings).delay_s(error or ValueError(), **facts)


def test_backoff_doubles_up_to_its_limit_and_ends_with_the_attempts() -> None:
    settings = RetryPolicy(max_attempts=12, jitter="none")
    delays = [delay(settings, attempt=attempt) for attempt in range(1, 13)]
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0, None]


def test_a_million_attempts_overflow_nothing() -> None:
    assert delay(RetryPolicy(max_attempts=1_000_000, jitter="none", multiplier=1_000.0), attempt=999_999) == 30.0


@given(chance=st.floats(0, 1, exclude_max=True), attempt=st.integers(1, 40))
def test_full_jitter_stays_below_the_backoff(chance: float, attempt: int) -> None:
    full, none = RetryPolicy(max_attempts=99), RetryPolicy(max_attempts=99, jitter="none")
    assert 0 <= delay(full, attempt=attempt, chance=chance) <= delay(none, attempt=attempt)  # type: ignore[operator]


def test_no_attempt_begins_after_max_elapsed() -> None:
    settings = RetryPolicy(max_attempts=99, jitter="none", max_elapsed_s=1.0)
    assert delay(settings, elapsed_s=0.8) == 0.2
    assert delay(settings, elapsed_s=0.81) is None
    assert delay(RetryPolicy(max_attempts=99, jitter="none", max_elapsed_s=None), elapsed_s=1e9) == 0.2


@pytest.mark.parametrize(
    ("retry_on", "never", "tried"),
    [
        (("*",), (), True),
        (("Busy",), (), True),
        (("ConnectionError",), (), True),
        (("OSError",), (), True),
        ((f"{__name__}.Busy",), (), True),
        (("ValueError", "KeyError"), (), False),
        ((), (), False),
        (("*",), ("OSError",), False),
        (("Busy",), ("ConnectionError",), False),
    ],
)
def test_errors_are_chosen_by_their_names_with_inheritance(
    retry_on: tuple[str, ...], never: tuple[str, ...], tried: bool
) -> None:
    settings = RetryPolicy(jitter="none", retry_on=retry_on, never_retry_on=never)
    assert (delay(settings, Busy()) is not None) is tried


def test_validation_errors_are_not_tried_again_by_default() -> None:
    import pydantic

    with pytest.raises(pydantic.ValidationError) as caught:
        pydantic.TypeAdapter(int).validate_python("x")

    assert "ValidationError" in names_of(caught.value)
    assert delay(error=caught.value) is None


def test_a_node_says_when_to_try_again_and_that_it_is_useless() -> None:
    nothing = RetryPolicy(jitter="none", retry_on=())
    assert delay(nothing, Retry(after=7)) == 7
    assert delay(nothing, Retry()) == 0.2
    assert delay(nothing, Retry(after=-1)) == 0
    assert delay(nothing, Retry(after=7), attempt=3) is None
    assert delay(RetryPolicy(max_elapsed_s=5), Retry(after=7)) is None
    assert delay(PLAIN, Permanent()) is None
    assert delay(PLAIN, BadMessage()) is None
    assert delay(PLAIN, IterationTimeout()) is None


FED, BELOW, PRODUCER = Place(fed=True, popped=True), Place(), Place(producer=True)


@pytest.mark.parametrize(
    ("place", "wanted", "action"),
    [
        (FED, None, Action.DEAD_LETTER),
        (BELOW, None, Action.FAIL_LOOP),
        (PRODUCER, None, Action.RESTART_LOOP),
        (Place(fed=True), None, Action.FAIL_LOOP),  # finish() and on_tick(): there is nothing to keep
        (BELOW, "dead-letter", Action.FAIL_LOOP),
        (Place(popped=True), "dead-letter", Action.DEAD_LETTER),
        (FED, "skip", Action.SKIP),
        (FED, "fail-loop", Action.FAIL_LOOP),
        (BELOW, "restart-loop", Action.RESTART_LOOP),
        (PRODUCER, "stop-workflow", Action.STOP_WORKFLOW),
        (Place(fed=True, popped=True, catches=True), "fail-loop", Action.ERROR_EDGE),
    ],
)
def test_what_becomes_of_an_exhausted_execution(place: Place, wanted: Any, action: Action) -> None:
    settings = RetryPolicy(on_exhausted=wanted)
    assert decide(Failure(ValueError(), attempt=3), settings, place, chance=0) is action


def test_a_message_that_cannot_be_read_is_a_dead_letter_whatever_the_policy() -> None:
    settings = RetryPolicy(on_exhausted="fail-loop")
    assert decide(Failure(BadMessage()), settings, FED, chance=0) is Action.DEAD_LETTER
    assert decide(Failure(BadMessage()), settings, BELOW, chance=0) is Action.FAIL_LOOP


def test_what_only_moves_data_is_not_tried_again_with_the_same_data() -> None:
    assert decide(Failure(NotEncodable()), PLAIN, Place(own=True), chance=0) is Action.FAIL_LOOP
    assert decide(Failure(OSError()), PLAIN, Place(own=True), chance=0) == Again(0.2)
    assert decide(Failure(BadOutput()), PLAIN, BELOW, chance=0) == Again(0.2)
    assert decide(Failure(BadOutput(), final=True), PLAIN, BELOW, chance=0) is Action.FAIL_LOOP


def test_no_attempt_begins_after_the_iterations_time() -> None:
    assert decide(Failure(ValueError(), left_s=0.3), PLAIN, BELOW, chance=0) == Again(0.2)
    assert decide(Failure(ValueError(), left_s=0.1), PLAIN, BELOW, chance=0) is Action.FAIL_LOOP


def test_the_same_chance_gives_the_same_backoff() -> None:
    one, other = random.Random(7), random.Random(7)
    assert [delay(RetryPolicy(), chance=one.random()) for _ in range(5)] == [
        delay(RetryPolicy(), chance=other.random()) for _ in range(5)
    ]
