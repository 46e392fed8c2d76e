"""`wfctl test`: examples that are written beside a workflow."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from treadle.errors import ConfigError
from treadle.testing.examples import beside, run_examples

NODES = '''
from treadle import BlockingNode, Params, Route

class Check(BlockingNode[Params]):
    """Sends big orders elsewhere."""

    uses = "shop.check"
    stateful = True

    def execute(self, data):
        self.state["seen"] = self.state.get("seen", 0) + 1
        return Route("large" if data["amount"] > 1000 else "small", data)
'''

WORKFLOW = {
    "nodes": [
        {"id": "check", "type": "queue-reader", "data": {"queue": "orders", "external": True}},
        {"id": "decide", "type": "blocking", "data": {"uses": "shop.check"}},
        {"id": "large", "type": "queue", "data": {"queue": "large", "external": True}},
        {"id": "small", "type": "queue", "data": {"queue": "small", "external": True}},
    ],
    "edges": [
        {"id": "a", "source": "check", "target": "decide"},
        {"id": "b", "source": "decide", "target": "large", "sourceHandle": "large"},
        {"id": "c", "source": "decide", "target": "small", "sourceHandle": "small"},
    ],
}

EXAMPLES = """
nodes: [nodes.py]
examples:
  - name: a big order is kept back
    loop: check
    push: {orders: [{id: 1, amount: 9000}, {id: 2, amount: 5}]}
    fail: {decide: 2}
    pushed:
      large: [{id: 1, amount: 9000}]
      small: [{id: 2, amount: 5}]
    committed: {check: 2}
    state: {check: {decide: {seen: 2}}}
  - name: an order without an amount is a dead letter
    push: {orders: [{id: 3}]}
    for: 5s
    dead: {orders: [{id: 3}]}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Write a workflow, its nodes and its examples; return the workflow's path."""
    (tmp_path / "nodes.py").write_text(NODES, "utf-8")
    (tmp_path / "shop.json").write_text(json.dumps(WORKFLOW), "utf-8")
    (tmp_path / "shop.tests.yaml").write_text(EXAMPLES, "utf-8")
    return tmp_path / "shop.json"


def test_examples_that_hold(wfctl: Any, shop: Path) -> None:
    ran = wfctl("test", str(shop))

    assert ran.code == 0, ran.out
    assert ran.out.splitlines()[0] == f"ok     {shop}: a big order is kept back"
    assert "2 hold, 0 failed" in ran.err


def test_an_example_that_does_not_hold_says_what_is_otherwise(wfctl: Any, shop: Path) -> None:
    examples = shop.with_name("shop.tests.yaml")
    examples.write_text(EXAMPLES.replace("seen: 2", "seen: 3").replace("    dead: {orders: [{id: 3}]}\n", ""), "utf-8")
    first, second = run_examples(examples)
    assert first.problem == "state of check/decide is {'seen': 2}, not {'seen': 3}"
    assert second.problem is not None
    assert "a message of orders is a dead letter: decide: KeyError: 'amount'" in second.problem
    assert wfctl("test", str(shop)).code == 1
    told = wfctl("test", str(examples), "-o", "json")
    assert [each["problem"] for each in json.loads(told.out)] == [first.problem, second.problem]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("examples: [{name: a, psuh: {}}]", "examples.0.psuh"),
        ("examples: [{name: a, for: soon}]", "'soon' is no duration"),
        ("examples: [", "can't be read"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(wfctl: Any, shop: Path, text: str, told: str) -> None:
    examples = shop.with_name("shop.tests.yaml")
    examples.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=told):
        run_examples(examples)
    assert wfctl("test", str(examples)).code == 2


def test_a_workflow_without_examples_says_where_they_would_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no lonely\.tests\.yaml beside"):
        beside(tmp_path / "lonely.json")


def test_the_examples_of_the_readme_hold(wfctl: Any, shop: Path, pytestconfig: pytest.Config) -> None:
    readme = (pytestconfig.rootpath / "agent" / "treadle" / "README.md").read_text("utf-8")
    (printed,) = re.findall(r"^```yaml\n(workflow: orders\.json.*?)^```$", readme, flags=re.MULTILINE | re.DOTALL)
    shop.rename(shop.with_name("orders.json"))
    shop.with_name("orders.tests.yaml").write_text(printed, "utf-8")

    ran = wfctl("test", str(shop.with_name("orders.json")))

    assert ran.code == 0, ran.out
    assert "1 hold, 0 failed" in ran.err
