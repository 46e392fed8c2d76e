"""Mutants of the real commit path. Each is a change to the product's source that the harness has to catch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.chaos.queues import contents, takeovers
from tests.chaos.queues.flow import ROLES
from tests.chaos.queues.patches import Patch
from tests.chaos.queues.programme import BY_HAND, FULL, LOST_ANSWERS, NO_MEMORY, PURGES, REPLICAS, TAKEOVERS, Piece

CALM = Piece("calm", replace(TAKEOVERS.script, sums=False), lambda rng, size: [(0.3, contents.rest)])
CROWDED = replace(FULL, schedule=lambda rng, size: [(0.1 * at, contents.kill_waiting_transform) for at in range(1, 5)])
FENCES = Piece(
    "fences",
    TAKEOVERS.script,
    lambda rng, size: [
        (0.1 + 0.1 * at, takeovers.of(role, same_epoch=same))
        for at, (role, same) in enumerate((role, same) for role in ROLES for same in (False, True))
    ],
)
SHRINKING = Piece("shrinking", replace(REPLICAS.script, slots=3), lambda rng, size: [(0.4, takeovers.scale_to(1))])


@dataclass(frozen=True, slots=True)
class Mutant:
    """A named change, the piece that has to see it, and kinds of violations one of which it has to see."""

    name: str
    patches: tuple[Patch, ...]
    piece: Piece
    kinds: tuple[str, ...]
    size: float = 0.4


_COMMIT = "lua/3_commit.lua"
_TENURE_CHECK = "if stored[1] ~= epoch or stored[2] ~= inc then"

MUTANTS = (
    Mutant(
        "no epoch check",
        (Patch(_COMMIT, _TENURE_CHECK, "if stored[2] ~= inc then"),),
        FENCES,
        ("ghost", "fence"),
    ),
    Mutant(
        "no inc check",
        (Patch(_COMMIT, _TENURE_CHECK, "if stored[1] ~= epoch then"),),
        FENCES,
        ("ghost", "fence"),
    ),
    Mutant("no nonce check", (Patch(_COMMIT, "if stored[4] == nonce then", "if true then"),), FENCES, ("ghost",)),
    Mutant(
        "no sequence check",
        (
            Patch(
                _COMMIT,
                "local last = tonumber(stored[3] or '') or 0\n  if seq == last",
                "local last = seq - 1\n  if seq == last",
            ),
        ),
        LOST_ANSWERS,
        ("sequence", "lineage", "ledger"),
    ),
    Mutant("no gap check", (Patch(_COMMIT, "if seq ~= last + 1 then", "if seq <= last then"),), FENCES, ("ghost",)),
    Mutant(
        "no position check",
        (
            Patch(
                _COMMIT, "elseif #ranges ~= 2 or ranges[1] ~= q.next or ranges[2] >= q.tail then", "elseif false then"
            ),
        ),
        PURGES,
        ("once", "ledger"),
        1.0,
    ),
    Mutant(
        "claims without a fence",
        (Patch("lua/4_readers.lua", "if stored[1] ~= argv[3] or stored[2] ~= argv[4] then", "if false then"),),
        FENCES,
        ("ghost", "fence"),
    ),
    Mutant(
        "acknowledgement first",
        (
            Patch(
                _COMMIT,
                "  states, refused = check_states(next_arg, prefix, loop)\n",
                "  for _, input in ipairs(inputs) do\n    acknowledge_input(prefix, input, loop)\n"
                "    save_queue(input.q)\n  end\n  states, refused = check_states(next_arg, prefix, loop)\n",
            ),
            Patch(
                _COMMIT,
                "\n  for _, input in ipairs(inputs) do\n    acknowledge_input(prefix, input, loop)\n  end\n  for",
                "\n  for",
            ),
        ),
        CROWDED,
        ("once", "ledger", "stalled"),
    ),
    Mutant(
        "commit split in two",
        (
            Patch(
                "pipeline.py",
                "        group = self._take()\n",
                "        group = self._take()\n"
                "        if group.contents.ranges and group.contents.pushes:\n"
                "            both = self.plain.whole(group.iterations)\n"
                "            self.waiting[:0] = [(one[0], (), None, (), one[4], 0) for one in both]\n"
                "            pushes = [((), one[1], one[2], one[3], False, one[5]) for one in both]\n"
                "            group = Group(pushes, Contents(pushes), group.size)\n",
            ),
        ),
        TAKEOVERS,
        ("lineage", "ledger"),
    ),
    Mutant(
        "resent with a new sequence",
        (
            Patch(
                "pipeline.py",
                "        if self.flying is not None:\n            self.flying.on_wire = False\n",
                "        if self.flying is not None:\n            self.flying.on_wire = False\n"
                "            self._seq += self.flying.sends\n            self._take_back(self.flying)\n",
            ),
        ),
        LOST_ANSWERS,
        ("lineage", "ledger", "gap", "sequence"),
    ),
    Mutant(
        "resent with a new nonce",
        (
            Patch(
                "pipeline.py",
                "        if self.flying is not None:\n            self.flying.on_wire = False\n",
                "        if self.flying is not None:\n            self.flying.on_wire = False\n"
                "            self._take_back(self.flying)\n",
            ),
        ),
        LOST_ANSWERS,
        ("conflict", "sequence"),
    ),
    Mutant(
        "trimmed too far",
        (
            Patch(
                "lua/1_library.lua",
                "redis.pcall('XTRIM', q.key, 'MINID', '~', int(least) .. '-1')",
                "redis.pcall('XTRIM', q.key, 'MINID', '=', int(q.tail) .. '-1')",
            ),
        ),
        TAKEOVERS,
        ("stalled", "once", "ledger"),
        1.0,
    ),
    Mutant(
        "doorbell lost",
        (
            Patch(
                "lua/1_library.lua", "    ring(prefix, q.bells, 'q', q.name)\n    q.bells = ''\n", "    q.bells = ''\n"
            ),
        ),
        CALM,
        ("stalled",),
    ),
    Mutant(
        "doorbell for room lost",
        (
            Patch(
                "lua/1_library.lua",
                "q.lim_b / 2) then\n    ring(prefix, q.room, 'r', q.name)\n",
                "q.lim_b / 2) then\n",
            ),
        ),
        FULL,
        ("stalled",),
    ),
    Mutant(
        "limits not looked at",
        (
            Patch(
                "lua/1_library.lua",
                "  local room_n, room_b = room_of(q)\n  return (room_n",
                "  do return false end\n  return (room_n",
            ),
        ),
        FULL,
        ("limit",),
    ),
    Mutant(
        "producers ask for room again and again",
        (Patch("pipeline.py", "self.not_before = now + FULL_LOOK_S", "self.not_before = now + 0.01"),),
        CROWDED,
        ("polling",),
    ),
    Mutant(
        "consumers need memory",
        (
            Patch(
                _COMMIT,
                "'treadle_acknowledge', callback = commit, flags = {'allow-oom'}",
                "'treadle_acknowledge', callback = commit",
            ),
        ),
        NO_MEMORY,
        ("stalled",),
        0.5,
    ),
    Mutant(
        "entries by hand dropped",
        (
            Patch(
                "lua/1_library.lua",
                "    redis.pcall('XADD', q.key .. ':dlq', '*', 'n', '0', 'i', item, 'r', reason, 'k', '')\n",
                "",
            ),
        ),
        BY_HAND,
        ("ledger",),
    ),
    Mutant(
        "claims lost in scaling",
        (Patch("lua/4_readers.lua", "      hand_over(q, slots)\n", ""),),
        SHRINKING,
        ("once", "ledger", "stalled"),
        0.5,
    ),
    Mutant(
        "state not in the commit",
        (Patch(_COMMIT, "  store_states(states, prefix, loop, stored[6] or '')\n", ""),),
        TAKEOVERS,
        ("ledger", "lineage", "sums"),
        0.2,
    ),
)
