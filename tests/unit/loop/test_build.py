"""From a plan to node objects."""

from __future__ import annotations

from typing import Any

import pytest

from treadle import BlockingNode, Params, ProducerNode
from treadle.errors import CatalogError, ConfigError
from treadle.loop import build_nodes
from treadle.workflow.plan import Plan, Step


class LoginParams(Params):
    """Where to, and how to get in."""

    host: str
    login: dict[str, str]
    ports: tuple[int, ...] = (1,)


class Login(BlockingNode[LoginParams]):
    """Uses a secret."""

    uses = "login"


class Start(ProducerNode[Params]):
    """Needs nothing."""

    uses = "start"


CATALOG: dict[str, Any] = {"login": Login, "start": Start}


def plan(params: dict[str, Any], uses: str = "login") -> Plan:
    steps = (Step("p", "producer", uses="start"), Step("n", "blocking", uses=uses, params=params), Step("q", "queue"))
    return Plan("w", "l", steps, digest="")


def test_nodes_are_made_by_id_with_checked_parameters_and_secrets() -> None:
    secrets = {"db": "hunter2"}
    params = {"host": "h", "login": {"password": {"$secret": "db"}}, "ports": [5]}
    nodes = build_nodes(plan(params), CATALOG, secret=secrets.__getitem__)
    assert list(nodes) == ["p", "n"]
    assert nodes["n"].params == LoginParams(host="h", login={"password": "hunter2"}, ports=(5,))


def test_an_unknown_node_type_is_named() -> None:
    with pytest.raises(CatalogError, match="n uses other"):
        build_nodes(plan({}, uses="other"), CATALOG)


def test_wrong_parameters_are_told_without_their_values() -> None:
    params = {"host": ["hunter2"], "login": {}, "prots": [5]}
    with pytest.raises(ConfigError) as caught:
        build_nodes(plan(params), CATALOG)
    assert caught.value.details["problems"] == [
        "host: Input should be a valid string",
        "prots: Extra inputs are not permitted",
    ]
    assert caught.value.__cause__ is None
    assert "hunter2" not in str(caught.value)


def test_a_secret_that_is_not_known_is_named() -> None:
    params = {"host": "h", "login": {"password": {"$secret": "db"}}}
    with pytest.raises(ConfigError, match="'db', and no secrets"):
        build_nodes(plan(params), CATALOG)
    with pytest.raises(ConfigError, match="'db', which is not known"):
        build_nodes(plan(params), CATALOG, secret=dict[str, str]().__getitem__)
