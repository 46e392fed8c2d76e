"""Cycles in a directed graph, without recursion: graphs may be 10,000 nodes deep."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_SHOWN_EACH_SIDE: Final = 4


def topological(outs: Mapping[str, Sequence[str]]) -> tuple[list[str], set[str]]:
    """An order in which every node follows its predecessors, and the nodes on or behind a cycle, which have none."""
    waiting = dict.fromkeys(outs, 0)
    for targets in outs.values():
        for target in targets:
            waiting[target] += 1
    ready = deque(node for node, count in waiting.items() if not count)
    order: list[str] = []
    while ready:
        node = ready.popleft()
        order.append(node)
        for target in outs[node]:
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return order, set(waiting).difference(order)


def components(outs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The strongly connected components that hold a cycle (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[list[str]] = []
    for root in outs:
        if root in index:
            continue
        work: list[tuple[str, Iterator[str]]] = []
        _enter(root, outs, index, low, stack, on_stack, work)
        while work:
            node, targets = work[-1]
            target = next(targets, None)
            if target is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    found.append(_leave(node, stack, on_stack))
            elif target not in index:
                _enter(target, outs, index, low, stack, on_stack, work)
            elif target in on_stack:
                low[node] = min(low[node], index[target])
    return [members for members in found if len(members) > 1 or members[0] in outs[members[0]]]


def _enter(
    node: str,
    outs: Mapping[str, Sequence[str]],
    index: dict[str, int],
    low: dict[str, int],
    stack: list[str],
    on_stack: set[str],
    work: list[tuple[str, Iterator[str]]],
) -> None:
    index[node] = low[node] = len(index)
    stack.append(node)
    on_stack.add(node)
    work.append((node, iter(outs[node])))


def _leave(node: str, stack: list[str], on_stack: set[str]) -> list[str]:
    members: list[str] = []
    while not members or members[-1] != node:
        members.append(stack.pop())
    on_stack.difference_update(members)
    return members


def path_through(members: Iterable[str], outs: Mapping[str, Sequence[str]]) -> list[str]:
    """The shortest cycle through the first member by name, which is repeated at the end."""
    inside = set(members)
    start = min(inside)
    came: dict[str, str] = {}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for target in outs[node]:
            if target == start:
                return _trace(node, start, came)
            if target in inside and target not in came:
                came[target] = node
                queue.append(target)
    return [start]


def _trace(node: str, start: str, came: Mapping[str, str]) -> list[str]:
    path = [start, node] if node != start else [start]
    while node != start and came[node] != start:
        node = came[node]
        path.append(node)
    path.append(start)
    return path[::-1]


def printed(path: Sequence[str]) -> str:
    """A path for people; the middle of a long one is left out."""
    left_out = len(path) - 2 * _SHOWN_EACH_SIDE
    if left_out > 1:
        path = [*path[:_SHOWN_EACH_SIDE], f"... {left_out:,} more ...", *path[-_SHOWN_EACH_SIDE:]]
    return " -> ".join(path)
