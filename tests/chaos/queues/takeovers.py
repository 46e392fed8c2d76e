"""Faults: loops are killed or paused and taken over, and what their old owners had under way arrives late."""

from __future__ import annotations

from tests.chaos.queues.cast import Actor
from tests.chaos.queues.flow import READS, WORKFLOW, WRITES
from tests.chaos.queues.play import Fault, Play
from treadle.queues.codec import encode_item
from treadle.queues.tenure import LoopKey

GHOST = encode_item({"n": -1, "v": 0, "by": "ghost", "m": 0, "tb": "ghost", "m2": 0})


def _victim(play: Play, role: str | None = None) -> Actor | None:
    """Return a loop whose process has committed something, None when there is none."""
    candidates = [a for a in play.actors.values() if not a.completed and role in (None, a.role)]
    if not candidates:
        return None
    key = play.random.choice(candidates).key

    def has_committed() -> bool:
        actor = play.actors[key]
        return actor.completed or play.stage.tenure(key)[2] > actor.born_at

    play.wait_for(has_committed, 1.0)
    actor = play.actors[key]
    return None if actor.completed or actor.process.report() is not None else actor


def takeover(play: Play, role: str | None = None, *, same_epoch: bool | None = None) -> None:
    """Kill or pause a loop's process and have another one take over, by a new epoch or as another incarnation."""
    actor = _victim(play, role)
    if actor is None:
        return
    if same_epoch is None:
        same_epoch = play.random.random() < 0.4
    way = play.random.choice(("kill", "pause", "pause", "hasty"))
    if way == "kill":
        actor.process.kill()
    else:
        actor.process.pause()
        if play.stage.tenure(actor.key)[3]:
            actor.process.resume()  # it has just completed: there is nothing to take over
            return
        play.leave_behind(actor, paused=way == "pause")
    epoch = actor.epoch
    if not same_epoch:
        epoch = play.stage.next_epoch()
        play.stage.assign({actor.key: epoch})
        _haunt(play, actor.key, actor.epoch)
        if way == "hasty":
            actor.process.resume()  # it goes on before its successor has begun
    heir = play.spawn(actor.key, epoch)
    if same_epoch:
        _haunt_incarnation(play, heir)
        if way == "hasty":
            actor.process.resume()
    play.bites[f"takeovers: {way}, {'same' if same_epoch else 'new'} epoch"] += 1


def of(role: str, *, same_epoch: bool) -> Fault:
    """Return a takeover of one role in one way."""
    return lambda play: takeover(play, role, same_epoch=same_epoch)


def _ghost(play: Play, key: LoopKey, fence: tuple[int, int, int, bytes]) -> None:
    answer = play.stage.ghost(key, fence, WRITES[key.loop], GHOST)
    play.bites[f"ghosts: commit {answer}"] += 1
    if answer not in {"FENCED", "CONFLICT", "GAP"}:
        play.wrong.append(f"ghost: a commit as {fence[:3]} of {key} was answered {answer}")


def _haunt(play: Play, key: LoopKey, old_epoch: int) -> None:
    """Send what the old owner may have under way: nobody has opened the loop since, so it fits but for its fence."""
    epoch, inc, seq, _ = play.stage.tenure(key)
    _ghost(play, key, (old_epoch, inc, seq + 1, b"ghost"))
    _ghost(play, key, (epoch, inc, seq, b"ghost"))  # a number that is taken, with other content
    _ghost(play, key, (epoch, inc, seq + 2, b"ghost"))  # as if the server had lost a commit
    queue = READS[key.loop]
    if queue is not None:
        answer = play.stage.ghost_claim(key, (old_epoch, inc), queue)
        play.bites[f"ghosts: claim {answer}"] += 1
        if answer != "FENCED":
            play.wrong.append(f"ghost: a claim as {old_epoch}.{inc} of {key} was answered {answer}")


def _haunt_incarnation(play: Play, heir: Actor) -> None:
    """Send what the incarnation before had under way, while the new one is stopped."""
    _, before, _, _ = play.stage.tenure(heir.key)
    play.wait_for(lambda: play.stage.tenure(heir.key)[1] > before, 0.5)
    heir.process.pause()
    epoch, inc, seq, _ = play.stage.tenure(heir.key)
    _ghost(play, heir.key, (epoch, inc - 1, seq + 1, b"ghost"))
    heir.process.resume()


def scale_to(slots: int) -> Fault:
    """Return a fault that gives the transform another number of replicas, under load."""

    def scale(play: Play) -> None:
        play.let_more(0.1)
        old = [key for key in play.actors if key.loop == "transform"]
        new = [LoopKey(WORKFLOW, "transform", replica) for replica in range(slots)]
        if any(play.actors[key].completed for key in old):
            return
        gone = [key for key in old if key not in new]
        play.bites["scaled away with claims"] += _stop_with_claims(play, gone)
        play.enter(new)
        epochs = {key: play.stage.next_epoch() for key in (*new, *gone)}
        play.stage.scale(epochs, "in", new)
        for key in old:
            play.leave_behind(play.actors[key])
            play.actors[key].process.resume()
        for key in gone:
            play.retired.add(key)
            del play.actors[key]
        for key in new:
            play.retired.discard(key)
            play.spawn(key, epochs[key])
        play.enter([], drop=gone)
        play.bites[f"scaled to {slots}"] += 1

    return scale


def _stop_with_claims(play: Play, slots: list[LoopKey]) -> bool:
    """Stop a slot between its claim and its commit, if it can be caught there."""
    claims = play.stage.keys.claims("in")

    def caught() -> bool:
        for key in slots:
            if play.stage.command("HGET", claims, str(key)):
                play.actors[key].process.pause()
                if play.stage.command("HGET", claims, str(key)):
                    return True
                play.actors[key].process.resume()
        return False

    return bool(slots) and play.wait_for(caught, 0.5)
