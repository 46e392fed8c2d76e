"""The version of what agents and the controller say to each other.

Both are upgraded one by one, so two versions always meet for a while. Additions need no new version: what one side does
not know, it ignores. A new version is one in which something means something else; each side speaks the versions from
`OLDEST` on, and refuses older ones with a reason rather than misunderstand them.
"""

from __future__ import annotations

from typing import Final

CURRENT: Final = 1
OLDEST: Final = 0  # the first one, which did not say its number


def refusal(theirs: int, who: str, *, oldest: int = OLDEST) -> str:
    """Return why another side can't be spoken with, "" if it can."""
    if theirs >= oldest:
        return ""
    return f"{who} speaks version {theirs} of the protocol, and {oldest} is the oldest that is understood: upgrade it"
