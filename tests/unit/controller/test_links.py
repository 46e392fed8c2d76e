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


def beats(sessions: Sessions, session: str, *answered: int) -> None:
    """Let it beat once a second; of each beat, which one it says was answered last."""
    for second, beat in enumerate(answered):
        sessions.beat("one", session, float(second))
        sessions.answer("one", second + 1, beat, float(second))


def test_an_agent_that_hears_nothing_is_lost_although_its_beats_arrive() -> None:
    sessions, session = opened()

    beats(sessions, session, 0, 1, 1, 1, 1)  # the answer to the first, at 0 s, was the last that it heard

    assert sessions.tick(4.4) == []
    assert [lost.agent for lost in sessions.tick(4.5)] == ["one"]


def test_an_agent_that_hears_each_answer_has_its_whole_lease() -> None:
    sessions, session = opened()

    beats(sessions, session, 0, 1, 2, 3, 4)

    assert sessions.tick(6.9) == []
    assert [lost.agent for lost in sessions.tick(7.0)] == ["one"]


def test_an_agent_that_does_not_say_what_it_hears_is_trusted_while_it_beats() -> None:
    sessions, session = opened()

    for second in range(10):
        sessions.beat("one", session, float(second))

    assert sessions.tick(11.9) == []
    assert [lost.agent for lost in sessions.tick(12.0)] == ["one"]


def test_what_was_heard_does_not_age_while_the_controller_itself_was_away() -> None:
    sessions, session = opened()
    beats(sessions, session, 0, 1)

    sessions.postpone(10.0)
    sessions.beat("one", session, 11.5)
    sessions.answer("one", 3, 1, 11.5)

    assert sessions.tick(14.4) == []
    assert [lost.agent for lost in sessions.tick(14.5)] == ["one"]


def test_a_new_session_does_not_count_what_the_one_before_heard() -> None:
    sessions, session = opened()
    beats(sessions, session, 0, 1)

    again = sessions.open("one", "boot", 20.0)
    assert isinstance(again, Opened)
    sessions.beat("one", again.session, 21.0)
    sessions.answer("one", 3, 2, 21.0)

    assert sessions.tick(23.9) == []
    assert [lost.agent for lost in sessions.tick(24.0)] == ["one"]
