"""Changes for one agent: numbered, gathered, replaced."""

from __future__ import annotations

from treadle_controller.cluster.outbox import Numbered, Outbox


def test_the_first_change_after_a_calm_moment_goes_at_once_and_the_next_are_gathered() -> None:
    outbox: Outbox[str] = Outbox(window_s=0.05)
    outbox.complete(0.0)
    outbox.offer("a", "a1")

    assert outbox.due(1.0) == 1.0
    assert outbox.take(1.0) == Numbered(1, 2, ("a1",))
    outbox.offer("b", "b1")
    outbox.offer("c", "c1")
    assert outbox.due(1.01) == 1.05
    assert outbox.take(1.05) == Numbered(2, 3, ("b1", "c1"))
    assert outbox.due(2.0) is None


def test_a_hundred_changes_do_not_wait_and_come_in_batches() -> None:
    outbox: Outbox[int] = Outbox(window_s=0.05, most=100)
    outbox.complete(0.0)
    for number in range(130):
        outbox.offer(number, number)

    assert outbox.due(0.0) == 0.0
    assert len(outbox.take(0.0).changes) == 100
    assert outbox.due(0.0) == 0.05


def test_a_later_change_replaces_an_earlier_one_and_a_full_set_all() -> None:
    outbox: Outbox[str] = Outbox()
    outbox.offer("a", "a1")
    outbox.offer("b", "b1")
    outbox.offer("a", "a2")

    assert outbox.take(0.0).changes == ("b1", "a2")
    outbox.offer("c", "c1")
    assert outbox.complete(0.0) == 2
    assert outbox.due(1.0) is None
