from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfctl.text import clean, duration, rate, size


@given(st.text())
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    left = clean(text)

    assert "\n" not in left
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in left)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b0m", "\\x9b0m"),
        ("a\nb", "a\\x0ab"),
        ("\u202eevil", "\\u202eevil"),
        ("Grüße 漢字", "Grüße 漢字"),
    ],
)
def test_controls_are_shown_as_escapes_and_letters_stay(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_line_ends_stay_where_lines_are_wanted() -> None:
    assert clean("a\n\tb\r", lines=True) == "a\n\tb\\x0d"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.32, "320ms"), (4.25, "4.2s"), (190, "3m10s"), (18_120, "5h2m"), (273_600, "3d4h")]
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_rates_and_sizes_are_short() -> None:
    assert [rate(0), rate(0.25), rate(12.34), rate(1234.5), rate(48_000)] == ["0", "0.25", "12.3", "1234", "48k"]
    assert [size(12), size(3_500), size(1_300_000)] == ["12 B", "3.4 KiB", "1.2 MiB"]
