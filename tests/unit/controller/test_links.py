"""Leases and holds follow the link that they are measured on."""

from __future__ import annotations

from treadle_controller.cluster.sessions import Opened, Sessions, SessionSettings

SETTINGS = SessionSettings(grace_s=0.0)


def opened(*trips: float) -> tuple[Sessions, str]:
    sessions = Sessions(SETTINGS, started=-100.0, make_id=lambda: "s1")
    first = sessions.open("one", "boot", 0.0)
    assert isinstance(first, Opened)
    for trip in trips:
        sessions.measured("one", trip)
    sessions.beat("one", first.session, 0.0)
    return sessions, first.session


def test_an_agent_on_a_quick_link_is_lost_after_three_intervals() -> None:
    sessions, _ = opened(0.001, 0.002)

    assert sessions.tick(2.9) == []
    assert [lost.agent for lost in sessions.tick(3.0)] == ["one"]


def test_an_agent_on_a_slow_link_is_lost_after_five() -> None:
    sessions, _ = opened(0.2, 0.3)

    assert sessions.tick(4.9) == []
    assert [lost.agent for lost in sessions.tick(5.0)] == ["one"]


def test_a_killed_agent_on_a_slow_link_is_held_for_a_whole_lease() -> None:
    quick, session = opened(0.001, 0.002)
    quick.close("one", session, 0.0)
    slow, session = opened(0.2, 0.3)
    slow.close("one", session, 0.0)

    assert [lost.agent for lost in quick.tick(1.0)] == ["one"]
    assert slow.tick(4.9) == []
    assert [lost.agent for lost in slow.tick(5.0)] == ["one"]


def test_a_busy_moment_makes_no_link_slow() -> None:
    sessions, _ = opened(0.001, 0.9, 0.8, 0.7)

    assert not sessions.is_slow("one")
