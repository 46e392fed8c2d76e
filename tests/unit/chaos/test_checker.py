"""The checker of the fault harness sees what it has to see."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.queues.checker import takeovers, violations
from tests.chaos.queues.history import Claim, Commit, Dump, Expected, History, Line, Output, Purge, QueueDump

TAGS = {"source": "a" * 12, "transform": "b" * 12, "sink": "c" * 12}


def commit(
    loop: str, seq: int, reads: str = "", first: int = 0, last: int = 0, pushes: str = "", at: int = 0
) -> Commit:
    """Return a good commit of `first..last`, pushed on from `at` on."""
    count = last - first + 1
    taken = ((reads, ((first, last),)),) if reads else ()
    out = (Output(pushes, at or first, count, 1, count, 100, count),) if pushes else ()
    return Commit(f"chaos/{loop}/0", 1, 1, 1, 1, seq, TAGS[loop] + str(seq), False, taken, out)


def line(n: int) -> Line:
    """Return a good line of the ledger."""
    return Line(n, n * 10, TAGS["source"], n + 1, TAGS["transform"], n + 1)


def good() -> tuple[History, Dump, Expected]:
    """Return a play of six messages in which all went well."""
    history = History(
        commits=[
            commit("source", 1, "", 1, 4, "in"),
            commit("transform", 1, "in", 1, 3, "out"),
            commit("source", 2, "", 5, 6, "in"),
            commit("transform", 2, "in", 4, 6, "out"),
            commit("sink", 1, "out", 1, 6, "ledger"),
        ]
    )
    queues = {name: QueueDump(7, 7, 0, 6, 0, 0) for name in ("in", "out")}
    return history, Dump([line(n) for n in range(6)], 0, queues, 150), Expected(6)


def check(history: History, dump: Dump, expected: Expected) -> list[str]:
    """Return the violations."""
    return violations(history, dump, expected, lambda n: n * 10)


def test_nothing_is_wrong_with_a_good_play() -> None:
    assert check(*good()) == []


def _stale_commit(history: History, dump: Dump) -> None:
    history.commits[1] = history.commits[1]._replace(stored_epoch=2)


def _stale_claim(history: History, dump: Dump) -> None:
    history.claims.append(Claim("chaos/transform/0", 1, 1, 1, 2, "in", 1, 2))


def _fallen_epoch(history: History, dump: Dump) -> None:
    history.commits[0] = history.commits[0]._replace(epoch=2, stored_epoch=2)


def _skipped_sequence(history: History, dump: Dump) -> None:
    history.commits[2] = history.commits[2]._replace(seq=3)


def _repeated_sequence(history: History, dump: Dump) -> None:
    history.commits.insert(1, history.commits[0])


def _input_twice(history: History, dump: Dump) -> None:
    history.commits[3] = history.commits[3]._replace(reads=(("in", ((3, 6),)),))


def _input_by_nobody(history: History, dump: Dump) -> None:
    history.commits[3] = history.commits[3]._replace(reads=(("in", ((5, 6),)),))


def _left_over(history: History, dump: Dump) -> None:
    dump.queues["out"] = QueueDump(6, 7, 0, 5, 0, 0)


def _claimed_for_ever(history: History, dump: Dump) -> None:
    dump.queues["in"] = QueueDump(7, 7, 2, 4, 0, 0)


def _lost(history: History, dump: Dump) -> None:
    del dump.ledger[2]


def _doubled(history: History, dump: Dump) -> None:
    dump.ledger.append(dump.ledger[2])


def _unexpected(history: History, dump: Dump) -> None:
    dump.ledger.append(line(-1))


def _unreadable(history: History, dump: Dump) -> None:
    dump.strange = 1


def _other_value(history: History, dump: Dump) -> None:
    dump.ledger[3] = dump.ledger[3]._replace(value=7)


def _overtaken(history: History, dump: Dump) -> None:
    dump.ledger[2], dump.ledger[3] = dump.ledger[3], dump.ledger[2]


def _of_another_time(history: History, dump: Dump) -> None:
    dump.ledger[3] = dump.ledger[3]._replace(by="x" * 12)


def _through_another(history: History, dump: Dump) -> None:
    dump.ledger[3] = dump.ledger[3]._replace(through="x" * 12)


def _crossed(history: History, dump: Dump) -> None:
    dump.ledger[3] = dump.ledger[3]._replace(second=5)


def _sum_off(history: History, dump: Dump) -> None:
    dump.sums = 151


def _overshot(history: History, dump: Dump) -> None:
    out = history.commits[0].outputs[0]._replace(depth=102, limit=100, last_iteration=2)
    history.commits[0] = history.commits[0]._replace(outputs=(out,))


def _pushed_over_another(history: History, dump: Dump) -> None:
    out = history.commits[2].outputs[0]._replace(first=4)
    history.commits[2] = history.commits[2]._replace(outputs=(out,))


def _purged_and_committed(history: History, dump: Dump) -> None:
    history.purges.append(Purge("in", 4, 6))


def _entry_by_hand(history: History, dump: Dump) -> None:
    dump.queues["in"] = dump.queues["in"]._replace(foreign=1)


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (_stale_commit, "fence"),
        (_stale_claim, "fence"),
        (_fallen_epoch, "fence"),
        (_skipped_sequence, "sequence"),
        (_repeated_sequence, "sequence"),
        (_input_twice, "once"),
        (_input_by_nobody, "once"),
        (_left_over, "once"),
        (_claimed_for_ever, "once"),
        (_lost, "ledger"),
        (_doubled, "ledger"),
        (_unexpected, "ledger"),
        (_unreadable, "ledger"),
        (_other_value, "ledger"),
        (_overtaken, "order"),
        (_of_another_time, "lineage"),
        (_through_another, "lineage"),
        (_crossed, "lineage"),
        (_sum_off, "sums"),
        (_overshot, "limit"),
        (_pushed_over_another, "once"),
        (_purged_and_committed, "once"),
        (_entry_by_hand, "ledger"),
    ],
)
def test_harm_is_seen_and_named(harm: Callable[[History, Dump], None], kind: str) -> None:
    history, dump, expected = good()
    harm(history, dump)
    assert kind in {sentence.partition(":")[0] for sentence in check(history, dump, expected)}


def test_what_was_purged_is_not_missed() -> None:
    history, dump, expected = good()
    history.commits[3] = commit("transform", 2, "in", 6, 6, "out", at=4)
    history.commits[4] = commit("sink", 1, "out", 2, 4, "ledger", at=1)
    history.purges += [Purge("in", 4, 5), Purge("out", 1, 1)]
    dump.ledger = [line(1), line(2), line(5)._replace(second=4)]
    dump.queues["out"] = QueueDump(5, 5, 0, 3, 1, 0)
    dump.sums = 150 - 30 - 40
    assert check(history, dump, expected) == []


def test_ranges_of_several_claims_keep_their_places_in_the_lineage() -> None:
    history, dump, _ = good()
    history.commits[1] = commit("transform", 1, "in", 1, 4, "out")._replace(reads=(("in", ((1, 2), (5, 6))),))
    history.commits[1], history.commits[2] = history.commits[2], history.commits[1]
    history.commits[3] = commit("transform", 2, "in", 3, 4, "out", at=5)
    places = {1: 1, 2: 2, 5: 3, 6: 4, 3: 5, 4: 6}
    dump.ledger = [line(n - 1)._replace(second=second) for n, second in places.items()]
    assert check(history, dump, Expected(6, in_order=False)) == []


def test_a_takeover_counts_when_both_owners_have_committed() -> None:
    history, _, _ = good()
    assert takeovers(history) == 0
    history.commits[3] = history.commits[3]._replace(stored_inc=2)
    assert takeovers(history) == 1
