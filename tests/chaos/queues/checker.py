"""Whether a play went well: a pure function of its history, the dump and what was expected.

Every violation is a sentence that begins with its kind:

    fence      a commit or claim of somebody who did not hold the loop was accepted, or epochs fell
    sequence   a loop's commits are not numbered one by one
    once       a message was committed twice or not at all, or its number was given away twice
    ledger     a message is missing, doubled or unexpected at the end
    lineage    what came out is not what the commits say went in
    order      messages overtook each other where one slot reads
    sums       the sum in the nodes' state is not the sum of what went through
    limit      a queue was overshot by more than one iteration
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from tests.chaos.queues.history import Claim, Commit, Dump, Expected, History, Line, Output

TAG = 12  # letters at the beginning of a nonce that name an incarnation


def violations(history: History, dump: Dump, expected: Expected, value_of: Callable[[int], int]) -> list[str]:
    """Return everything that is wrong, at most a few sentences of each kind."""
    checks: list[Iterable[str]] = [
        _fences(history),
        _sequences(history),
        _pushed_once(history, dump),
        _committed_once(history, dump),
        _limits(history),
        _by_hand(dump, expected),
    ]
    if expected.keeps_ledger:
        lineage = Lineage(history)
        checks += [
            _totals(history, dump, expected, lineage),
            lineage.check(dump.ledger),
            _values(dump.ledger, value_of),
            _order(dump.ledger) if expected.in_order else (),
        ]
    checks.append(_sums(history, dump, expected, value_of))
    return [sentence for check in checks for sentence in _few(check)]


def takeovers(history: History) -> int:
    """Return how often a loop was committed by another incarnation than before."""
    last: dict[str, tuple[int, int]] = {}
    changes = 0
    for commit in history.commits:
        holder = (commit.stored_epoch, commit.stored_inc)
        changes += last.get(commit.loop, holder) != holder
        last[commit.loop] = holder
    return changes


def _few(sentences: Iterable[str], limit: int = 5) -> list[str]:
    found = list(sentences)
    more = [f"{found[limit].partition(':')[0]}: and {len(found) - limit} more"] if len(found) > limit else []
    return found[:limit] + more


def _fences(history: History) -> Iterator[str]:
    acts: list[Commit | Claim] = [*history.commits, *history.claims]
    for act in acts:
        if (act.epoch, act.inc) != (act.stored_epoch, act.stored_inc):
            who, owner = f"{act.epoch}.{act.inc}", f"{act.stored_epoch}.{act.stored_inc}"
            yield f"fence: {type(act).__name__.lower()} of {act.loop} as {who} accepted while {owner} held it"
    last: dict[str, tuple[int, int]] = {}
    for commit in history.commits:
        holder = commit.epoch, commit.inc
        if holder < last.get(commit.loop, holder):
            yield f"fence: {commit.loop} fell from {last[commit.loop]} to {holder}"
        last[commit.loop] = holder


def _sequences(history: History) -> Iterator[str]:
    last: Counter[str] = Counter()
    for commit in history.commits:
        if commit.seq != last[commit.loop] + 1:
            yield f"sequence: {commit.loop} committed {commit.seq} after {last[commit.loop]}"
        last[commit.loop] = commit.seq


def _pushed_once(history: History, dump: Dump) -> Iterator[str]:
    tails: Counter[str] = Counter()
    for commit in history.commits:
        for out in commit.outputs:
            if out.first != tails[out.queue] + 1 or out.counted != out.messages:
                yield f"once: {out.messages} pushed to {out.queue} from {out.first} on, after {tails[out.queue]}"
            tails[out.queue] = out.first + out.messages - 1
    for name, queue in dump.queues.items():
        if queue.tail - 1 != tails[name]:
            yield f"once: {name} counts {queue.tail - 1} messages, the commits {tails[name]}"


def _consumed(history: History, name: str) -> list[tuple[int, int, str]]:
    taken = [
        (first, last, commit.loop)
        for commit in history.commits
        for queue, ranges in commit.reads
        if queue == name
        for first, last in ranges
    ]
    return sorted(taken + [(p.first, p.last, "purge") for p in history.purges if p.queue == name])


def _committed_once(history: History, dump: Dump) -> Iterator[str]:
    for name, queue in dump.queues.items():
        if name == "ledger":
            continue
        at = 0
        for first, last, who in _consumed(history, name):
            if first <= at:
                yield f"once: {name} {first}..{min(last, at)} committed again by {who}"
            elif first > at + 1:
                yield f"once: {name} {at + 1}..{first - 1} committed by nobody"
            at = max(at, last)
        if at != queue.tail - 1:
            yield f"once: {name} {at + 1}..{queue.tail - 1} committed by nobody"
        if queue.next != queue.tail or queue.held:
            yield f"once: {name} is not empty: {queue.next}..{queue.tail - 1} wait, {queue.held} are claimed"


def _limits(history: History) -> Iterator[str]:
    for commit in history.commits:
        for out in commit.outputs:
            if 0 <= out.limit <= out.depth - out.last_iteration:
                yield f"limit: {out.queue} holds {out.depth} of {out.limit}, {out.last_iteration} by the last iteration"


def _by_hand(dump: Dump, expected: Expected) -> Iterator[str]:
    found = sum(queue.foreign for queue in dump.queues.values())
    if found != expected.entries_by_hand:
        yield f"ledger: {expected.entries_by_hand} entries were put in by hand, {found} are dead letters"


def _totals(history: History, dump: Dump, expected: Expected, lineage: Lineage) -> Iterator[str]:
    seen = Counter(line.n for line in dump.ledger)
    doubled = [n for n, times in seen.items() if times > 1]
    unexpected = [n for n in seen if not 0 <= n < expected.total]
    lost = set(range(expected.total)) - set(seen) - lineage.purged(history)
    if doubled:
        yield f"ledger: {len(doubled)} doubled, {min(doubled)} first"
    if unexpected:
        yield f"ledger: {len(unexpected)} unexpected, {unexpected[0]} first"
    if lost:
        yield f"ledger: {len(lost)} lost, {min(lost)} first"
    if dump.strange:
        yield f"ledger: {dump.strange} lines can't be read"


def _values(ledger: list[Line], value_of: Callable[[int], int]) -> Iterator[str]:
    for line in ledger:
        if line.value != value_of(line.n):
            yield f"ledger: {line.n} carries {line.value} instead of {value_of(line.n)}"


def _order(ledger: list[Line]) -> Iterator[str]:
    for before, after in pairwise(ledger):
        if after.n <= before.n:
            yield f"order: {after.n} came after {before.n}"


def _sums(history: History, dump: Dump, expected: Expected, value_of: Callable[[int], int]) -> Iterator[str]:
    if dump.sums is None:
        return
    purged = {n for p in history.purges if p.queue == "in" for n in range(p.first - 1, p.last)}
    total = sum(value_of(n) for n in range(expected.total) if n not in purged)
    if dump.sums != total:
        yield f"sums: the states hold {dump.sums}, {total} went through"


class Lineage:
    """Which message of `in` became which of `out`: both lie at the same place of one commit of the transform."""

    def __init__(self, history: History) -> None:
        self._pushed: dict[str, list[tuple[int, Commit]]] = {"in": [], "out": []}
        for commit in history.commits:
            for out in commit.outputs:
                if out.queue in self._pushed:
                    self._pushed[out.queue].append((out.first, commit))
        for pushes in self._pushed.values():
            pushes.sort(key=lambda push: push[0])

    def check(self, ledger: list[Line]) -> Iterator[str]:
        """Yield what does not fit."""
        for line in ledger:
            if line.number != line.n + 1:
                yield f"lineage: {line.n} had the number {line.number} in `in`"
            pushed = self._commit("in", line.number)
            if pushed is None or pushed.nonce[:TAG] != line.by:
                yield f"lineage: {line.n} was read as {line.by} pushed it, which is not what was committed"
            through = self._commit("out", line.second)
            if through is None or through.nonce[:TAG] != line.through:
                yield f"lineage: {line.n} was read as {line.through} handed it on, which is not what was committed"
            elif (origin := self._origin(through, line.second)) != line.number:
                yield f"lineage: {line.second} in `out` came from {origin}, not {line.number}"

    def purged(self, history: History) -> set[int]:
        """Return the messages that purges dropped in either queue."""
        gone: set[int] = set()
        for purge in history.purges:
            for number in range(purge.first, purge.last + 1):
                origin: int | None = number
                if purge.queue == "out":
                    commit = self._commit("out", number)
                    origin = None if commit is None else self._origin(commit, number)
                if origin is not None:
                    gone.add(origin - 1)
        return gone

    def _commit(self, queue: str, number: int) -> Commit | None:
        pushes = self._pushed[queue]
        at = bisect_right(pushes, number, key=lambda push: push[0]) - 1
        if at < 0:
            return None
        commit = pushes[at][1]
        return commit if number < _output(commit, queue).first + _output(commit, queue).messages else None

    def _origin(self, commit: Commit, number: int) -> int | None:
        offset = number - _output(commit, "out").first
        for _, ranges in commit.reads:
            for first, last in ranges:
                if offset <= last - first:
                    return first + offset
                offset -= last - first + 1
        return None


def _output(commit: Commit, queue: str) -> Output:
    return next(out for out in commit.outputs if out.queue == queue)
