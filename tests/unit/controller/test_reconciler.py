"""From what is wanted to who runs it: tables, and a cluster that is shaken."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.unit.controller.builders import agent, plan
from tests.unit.controller.simulation import Cluster
from treadle_controller.cluster.fleet import Liveness
from treadle_controller.cluster.model import Desired, ReplicaId, State

A = ReplicaId("w", "a", 0)


def test_a_new_workflow_is_placed_and_runs() -> None:
    cluster = Cluster(agent("one"), agent("two"))
    cluster.apply(plan("a"), plan("b"))

    cluster.calm_down()

    assert {one.agent for one in cluster.held().values()} == {"one", "two"}
    assert cluster.state() is State.RUNNING


def test_nothing_moves_when_nothing_changes() -> None:
    cluster = Cluster(agent("one"), agent("two"))
    cluster.apply(plan("a"), plan("b", replicas=3))
    cluster.calm_down()
    before = cluster.held()

    cluster.apply(plan("a"), plan("b", replicas=3))
    cluster.calm_down()

    assert cluster.held() == before


def test_a_changed_loop_drains_before_its_successor_starts_with_a_higher_epoch() -> None:
    cluster = Cluster(agent("one"))
    cluster.apply(plan("a"), plan("b"))
    cluster.calm_down()
    before = cluster.held()
    cluster.history.clear()

    cluster.apply(plan("a", digest="d2"), plan("b"))
    cluster.calm_down()

    assert cluster.history == ["stop a/0", "place a/0 on one"]
    assert cluster.held()["a/0"].epoch > before["a/0"].epoch
    assert cluster.held()["b/0"] == before["b/0"]


def test_changed_loops_take_turns() -> None:
    cluster = Cluster(agent("one"), max_parallel=1)
    cluster.apply(plan("a"), plan("b"))
    cluster.calm_down()

    cluster.apply(plan("a", digest="d2"), plan("b", digest="d2"))
    cluster.settle()

    assert [one.releasing for one in cluster.held().values()] == [True, False]
    assert cluster.workflow.waits[ReplicaId("w", "b", 0)].code == "rollout"
    cluster.calm_down()
    assert {one.digest for one in cluster.held().values()} == {"d2"}


def test_a_stopped_loop_is_let_go_before_its_tail_and_the_tail_when_its_queue_is_empty() -> None:
    cluster = Cluster(agent("one"))
    cluster.apply(plan("a", tails=("a~t",)), plan("a~t"))
    cluster.calm_down()
    cluster.history.clear()
    cluster.full_queues = {"w~a~t"}

    cluster.desire(Desired.STOPPED)
    cluster.calm_down()
    assert cluster.history == ["stop a/0"]
    cluster.full_queues = set()
    cluster.calm_down()

    assert cluster.history == ["stop a/0", "stop a~t/0"]
    assert cluster.state() is State.STOPPED


def test_a_paused_loop_is_quiet_before_its_tail_pauses_and_both_go_on_where_they_were() -> None:
    cluster = Cluster(agent("one"))
    cluster.apply(plan("a", tails=("a~t",)), plan("a~t"))
    cluster.calm_down()
    before = cluster.held()
    cluster.full_queues = {"w~a~t"}

    cluster.desire(Desired.PAUSED)
    cluster.calm_down()
    assert [one.desired for one in cluster.held().values()] == [Desired.PAUSED, Desired.RUNNING]
    cluster.full_queues = set()
    cluster.calm_down()
    assert cluster.state() is State.PAUSED
    cluster.desire(Desired.RUNNING)
    cluster.calm_down()

    assert {key: one.epoch for key, one in cluster.held().items()} == {key: one.epoch for key, one in before.items()}


def test_a_tail_that_a_changed_loop_no_longer_has_goes_after_the_old_loop() -> None:
    cluster = Cluster(agent("one"))
    cluster.apply(plan("a", tails=("a~t",)), plan("a~t"))
    cluster.calm_down()
    cluster.history.clear()

    cluster.apply(plan("a", digest="d2"))
    cluster.calm_down()

    assert cluster.history == ["stop a/0", "place a/0 on one", "stop a~t/0"]
    assert list(cluster.workflow.loops) == ["a"]


def test_a_tail_follows_its_loop_to_another_agent() -> None:
    cluster = Cluster(agent("one"), agent("two"))
    cluster.apply(plan("a", tails=("a~t",)), plan("a~t"))
    cluster.calm_down()
    old = cluster.held()["a/0"].agent

    cluster.lose(old)
    cluster.calm_down()

    assert {one.agent for one in cluster.held().values()} == {"one", "two"} - {old}


def test_an_agent_that_is_only_away_keeps_its_loops() -> None:
    cluster = Cluster(agent("one"), agent("two"))
    cluster.apply(plan("a"))
    cluster.calm_down()
    before = cluster.held()
    cluster.image.fleet.agents["one"].liveness = Liveness.DISCONNECTED
    cluster.image.fleet.changed()

    cluster.calm_down()

    assert cluster.held() == before


def test_a_drained_agent_hands_its_loops_over_one_after_they_stopped() -> None:
    cluster = Cluster(agent("one"), agent("two"))
    cluster.apply(plan("a"))
    cluster.calm_down()
    cluster.image.fleet.agents["one"].draining = True
    cluster.image.fleet.changed()
    cluster.history.clear()

    cluster.calm_down()

    assert cluster.history == ["stop a/0", "place a/0 on two"]


def test_a_completed_loop_is_not_started_again_until_somebody_asks() -> None:
    cluster = Cluster(agent("one"))
    cluster.apply(plan("a"))
    cluster.calm_down()
    cluster.report(A, State.COMPLETED)
    cluster.calm_down()
    assert cluster.held() == {}
    assert cluster.state() is State.COMPLETED

    cluster.restart("a")
    changes = cluster.settle()

    assert [(place.reopen, place.forget) for place in changes.placed] == [(True, False)]


def test_a_fresh_restart_stops_the_loop_and_forgets_its_state_before_it_starts() -> None:
    cluster = Cluster(agent("one"))
    cluster.apply(plan("a"))
    cluster.calm_down()

    cluster.restart("a", fresh=True)
    assert cluster.settle().placed == []
    cluster.answer(A)
    changes = cluster.settle()

    assert [place.forget for place in changes.placed] == [True]


def test_a_loop_that_failed_for_good_stays_where_it_is_until_it_is_restarted() -> None:
    cluster = Cluster(agent("one"))
    cluster.apply(plan("a"))
    cluster.calm_down()
    cluster.report(A, State.ERROR)
    cluster.calm_down()
    assert cluster.state() is State.ERROR

    cluster.restart("a")
    cluster.calm_down()

    assert cluster.state() is State.RUNNING


def test_fewer_replicas_let_the_last_ones_go() -> None:
    cluster = Cluster(agent("one"), agent("two"))
    cluster.apply(plan("a", replicas=3))
    cluster.calm_down()

    cluster.apply(plan("a", replicas=1, digest="d2"))
    cluster.calm_down()

    assert list(cluster.held()) == ["a/0"]


def test_a_placement_that_no_agent_heard_of_is_taken_back_at_once() -> None:
    cluster = Cluster(agent("one"))
    cluster.apply(plan("a"))
    (place,) = cluster.settle().placed
    cluster.unsent[A] = place

    cluster.desire(Desired.STOPPED)
    cluster.settle()

    assert cluster.held() == {}


NAMES = st.sampled_from(["a", "b", "c"])
AGENTS = st.sampled_from(["one", "two", "three"])


class ShakenCluster(RuleBasedStateMachine):
    """People, agents and losses in any order; whenever it calms down, what is wanted is what runs."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster(agent("one", slots=4), agent("two", slots=4), agent("three", slots=4), max_parallel=2)

    @rule(loops=st.dictionaries(NAMES, st.tuples(st.booleans(), st.sampled_from("xy"), st.integers(1, 2))))
    def apply(self, loops: dict[str, tuple[bool, str, int]]) -> None:
        plans = []
        for name, (tail, digest, replicas) in sorted(loops.items()):
            tails = (f"{name}~t",) if tail else ()
            made = f"{digest}{tail}{replicas}"
            plans.append(plan(name, digest=made, replicas=replicas, tails=tails))
            plans += [plan(one, digest=digest, replicas=replicas) for one in tails]
        self.cluster.apply(*plans)

    @rule(desired=st.sampled_from(list(Desired)))
    def desire(self, desired: Desired) -> None:
        self.cluster.desire(desired, [loop.name for loop in self.cluster.workflow.loops.values() if not loop.removed])

    @rule(name=NAMES, fresh=st.booleans())
    def restart(self, name: str, *, fresh: bool) -> None:
        if name in self.cluster.workflow.loops:
            self.cluster.restart(name, fresh=fresh)

    @rule(name=AGENTS)
    def lose(self, name: str) -> None:
        self.cluster.lose(name)

    @rule(name=AGENTS)
    def come_back(self, name: str) -> None:
        self.cluster.come_back(name)

    @rule(name=AGENTS)
    def cordon(self, name: str) -> None:
        one = self.cluster.image.fleet.agents[name]
        one.cordoned = not one.cordoned
        self.cluster.image.fleet.changed()

    @rule()
    def settle(self) -> None:
        self.cluster.settle()

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        ids = sorted(self.cluster.workflow.assignments)
        if ids:
            self.cluster.answer(data.draw(st.sampled_from(ids)))

    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        held = sorted(id_ for id_, one in self.cluster.workflow.assignments.items() if one.held)
        if held:
            self.cluster.report(data.draw(st.sampled_from(held)), State.COMPLETED)

    @rule()
    def calm_down(self) -> None:
        self.cluster.calm_down()
        workflow, agents = self.cluster.workflow, self.cluster.image.fleet.agents
        for id_, one in workflow.assignments.items():
            loop = workflow.loops[id_.loop]
            if not one.held:
                continue
            assert agents[one.agent].liveness is not Liveness.LOST
            assert loop.desired is not Desired.STOPPED
            assert not loop.removed
            assert one.digest == loop.plan.digest
            assert self.cluster.running[id_] == one.epoch
            above = workflow.assignments.get(id_._replace(loop=loop.plan.tail_of or ""))
            assert above is None or not above.held or above.agent == one.agent
        assert not any(loop.removed for loop in workflow.loops.values())

    @invariant()
    def slots_are_counted_exactly(self) -> None:
        workflow = self.cluster.workflow
        for one in self.cluster.image.fleet.agents.values():
            held = [id_ for id_, it in workflow.assignments.items() if it.held and it.agent == one.name]
            assert one.used.get("thread", 0) == len(held) <= 4

    @invariant()
    def epochs_never_repeat(self) -> None:
        epochs = [one.epoch for one in self.cluster.workflow.assignments.values()]
        assert len(epochs) == len(set(epochs))


ShakenCluster.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestShakenCluster = ShakenCluster.TestCase


def test_a_paused_tail_with_messages_in_its_queue_is_let_go_at_once() -> None:
    cluster = Cluster(agent("one"))
    cluster.apply(plan("a", tails=("a~t",)), plan("a~t"))
    cluster.calm_down()
    cluster.desire(Desired.PAUSED)
    cluster.calm_down()
    cluster.full_queues = {"w~a~t"}

    cluster.desire(Desired.STOPPED)
    cluster.calm_down()

    assert cluster.held() == {}
    assert cluster.state() is State.STOPPED
