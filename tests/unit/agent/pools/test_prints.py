"""Lines that nodes print, told apart by loop."""

from __future__ import annotations

import io
import threading

from treadle_agent.pools.prints import MAX_LINE, Prints, current_run


def captured() -> tuple[Prints, io.StringIO, list[tuple[int, str]]]:
    """Return a stream, what passes through it, and what it keeps."""
    beyond, kept = io.StringIO(), list[tuple[int, str]]()
    stream = Prints(beyond, lambda name: 9 if name == "worker" else 0, lambda run, line: kept.append((run, line)))
    return stream, beyond, kept


def in_thread(work: object, name: str = "loop") -> None:
    thread = threading.Thread(target=work, name=name)  # type: ignore[arg-type]
    thread.start()
    thread.join()


def test_lines_of_threads_are_kept_apart_and_put_together() -> None:
    stream, beyond, kept = captured()

    def as_run(run: int, text: str) -> None:
        current_run.set(run)
        stream.write(text)

    in_thread(lambda: as_run(1, "on"))
    in_thread(lambda: as_run(2, "other\n"))
    in_thread(lambda: as_run(1, "e\ntw"))
    stream.forget(1)

    assert kept == [(2, "other"), (1, "one"), (1, "tw")]
    assert beyond.getvalue() == ""


def test_a_worker_thread_is_known_by_its_name_and_the_rest_passes_through() -> None:
    stream, beyond, kept = captured()

    in_thread(lambda: stream.write("work\n"), "worker")
    in_thread(lambda: stream.write("host\n"), "another")

    assert kept == [(9, "work")]
    assert beyond.getvalue() == "host\n"


def test_a_line_without_an_end_is_not_kept_back_for_ever() -> None:
    stream, _, kept = captured()

    in_thread(lambda: stream.write("x" * (MAX_LINE + 1)), "worker")

    assert kept == [(9, "x" * (MAX_LINE + 1))]
