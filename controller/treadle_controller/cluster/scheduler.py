"""The scheduler: which agent gets a replica, or why none can."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from treadle.workflow.plan import Plan
from treadle_controller.cluster.fleet import Agent, Fleet, Need
from treadle_controller.cluster.model import Why


def need_of(plan: Plan, tails: Sequence[Plan] = ()) -> Need:
    """Return what a loop needs, with the tails that have to run on the same agent."""
    uses = [step.uses for step in plan.steps if step.uses is not None]
    slots = 1
    for tail in tails:
        uses += [step.uses for step in tail.steps if step.uses is not None]
        slots += tail.pool == plan.pool
    placement = plan.placement
    return Need(
        plan.pool, frozenset(uses), frozenset(placement.labels.items()), frozenset(placement.prefer.items()), slots
    )


def choose(fleet: Fleet, need: Need, *, home: str = "", pinned: str = "", avoid: Collection[str] = ()) -> str | Why:
    """Return an agent's name, or why there is none.

    `home` is where the replica ran last and stays if it can; `pinned` is the only agent allowed (a tail's);
    `avoid` are agents with other replicas of the loop, taken only if there is no other.
    """
    only = pinned or home
    agent = fleet.get(only) if only else None
    if agent is not None and agent.open and need.fits(agent) and agent.free(need.pool) >= need.slots:
        return agent.name
    if pinned:
        return Why("tail-waits", f"it runs beside its loop, and {_obstacle(agent, need, pinned)}")
    best = fleet.best(need, avoid)
    return best if best is not None else fleet.why_not(need, explain)


def explain(fleet: Fleet, need: Need) -> Why:
    """Say why no agent can take a loop, by the first condition that none meets."""
    agents = list(fleet.agents.values())
    if not agents:
        return Why("no-agent", "no agent has connected yet")
    offering = [agent for agent in agents if need.uses <= agent.uses]
    if not offering:
        missing = sorted(use for use in need.uses if not any(use in agent.uses for agent in agents))
        if missing:
            return Why("node-type-absent", f"no agent offers {', '.join(missing)}")
        return Why("node-types-apart", f"no single agent offers all of {', '.join(sorted(need.uses))}")
    labelled = [agent for agent in offering if need.fits(agent)]
    if not labelled:
        wanted = ", ".join(f"{key}={value}" for key, value in sorted(need.labels))
        return Why("no-matching-labels", f"no agent that offers its node types has the labels {wanted}")
    if not any(agent.open for agent in labelled):
        return Why("no-agent-ready", f"{_names(labelled)}: {_shut(labelled[0])}")
    return Why("no-free-slot", f"no free {need.pool} slot (it needs {need.slots}) on {_names(labelled)}")


def obstacles(fleet: Fleet, need: Need) -> list[tuple[str, str]]:
    """Return each agent that can't take a loop now, by name, and why."""
    found = ((agent.name, _what_lacks(agent, need)) for agent in fleet.agents.values())
    return sorted((name, obstacle) for name, obstacle in found if obstacle)


def _what_lacks(agent: Agent, need: Need) -> str:
    missing = sorted(need.uses - agent.uses)
    if missing:
        return f"does not offer {', '.join(missing)}"
    labels = sorted(f"{key}={value}" for key, value in need.labels if agent.labels.get(key) != value)
    if labels:
        has = ", ".join(f"{key}={value}" for key, value in sorted(agent.labels.items())) or "none"
        return f"lacks the labels {', '.join(labels)} (it has: {has})"
    if not agent.open:
        return f"is {_shut(agent)}"
    if agent.free(need.pool) < need.slots:
        return f"has {agent.used.get(need.pool, 0)} of {agent.slots.get(need.pool, 0)} {need.pool} slots taken"
    return ""


def _obstacle(agent: Agent | None, need: Need, name: str) -> str:
    if agent is None:
        return f"agent {name} is not known"
    if not agent.open:
        return f"agent {name} is {_shut(agent)}"
    if not need.fits(agent):
        return f"agent {name} does not offer its node types"
    return f"agent {name} has no free {need.pool} slot"


def _shut(agent: Agent) -> str:
    if agent.draining:
        return "being drained"
    if agent.cordoned:
        return "cordoned"
    if not agent.redis_reachable:
        return "without contact to its Redis"
    return "not connected"


def _names(agents: Sequence[Agent]) -> str:
    names = sorted(agent.name for agent in agents)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
