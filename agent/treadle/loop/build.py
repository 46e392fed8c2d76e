"""From a plan to node objects: classes by name, parameters checked, secrets resolved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from treadle.errors import CatalogError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from treadle.node import Node
    from treadle.workflow.plan import Plan, Step

SECRET = "$secret"  # noqa: S105 - the key of a reference, not a secret


def build_nodes(
    plan: Plan,
    catalog: Mapping[str, type[Node[Any]]],
    *,
    secret: Callable[[str], str] | None = None,
) -> dict[str, Node[Any]]:
    """Make the node objects of a plan, by node id; call it right before the loop runs.

    `secret` gives the value of a `{"$secret": "name"}` reference. Raises CatalogError for an unknown node type and
    ConfigError for parameters that don't fit, without showing any value.
    """
    return {step.node: _build(step, catalog, secret) for step in plan.steps if step.uses is not None}


def _build(step: Step, catalog: Mapping[str, type[Node[Any]]], secret: Callable[[str], str] | None) -> Node[Any]:
    node_class = catalog.get(step.uses or "")
    if node_class is None:
        message = f"{step.node} uses {step.uses}, which is not offered here"
        raise CatalogError(message, node=step.node, uses=step.uses)
    params = _resolve(step.params, step, secret)
    try:
        return node_class(node_class.params_model.model_validate(params))
    except ValidationError as exc:
        # Not `from exc`: pydantic's text shows the values, and one of them may be a secret.
        problems = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors(include_input=False)]
    message = f"{step.node} ({step.uses}): {'; '.join(problems)}"
    raise ConfigError(message, node=step.node, uses=step.uses, problems=problems)


def _resolve(value: Any, step: Step, secret: Callable[[str], str] | None) -> Any:
    if isinstance(value, dict):
        if value.keys() == {SECRET}:
            return _secret_value(value[SECRET], step, secret)
        return {key: _resolve(each, step, secret) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_resolve(each, step, secret) for each in value]
    return value


def _secret_value(name: Any, step: Step, secret: Callable[[str], str] | None) -> str:
    if secret is None:
        message = f"{step.node} needs the secret {name!r}, and no secrets are configured here"
        raise ConfigError(message, node=step.node, secret=name)
    try:
        return secret(name)
    except KeyError:
        message = f"{step.node} needs the secret {name!r}, which is not known here"
        raise ConfigError(message, node=step.node, secret=name) from None
