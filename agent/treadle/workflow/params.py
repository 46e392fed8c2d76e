"""Parameters: `with` against the JSON Schema of its node type, and the references to secrets in it.

jsonschema is imported when the first schema is not a flat one, or the first value is wrong: reading plans needs none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from treadle.workflow.names import escaped, is_name, kind_of, nearest, shown, token
from treadle.workflow.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

    from treadle.workflow.findings import Findings
    from treadle.workflow.graph import Node
    from treadle.workflow.node_type import NodeType

SECRET: Final = "$secret"  # noqa: S105 - the key of a reference, not a secret

_MAX_FINDINGS: Final = 20  # for one node
_EXACT: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,),
}  # fmt: skip
_IN_WORDS: Final = {
    "string": "a string", "integer": "an integer", "number": "a number", "boolean": "a boolean",
    "object": "an object", "array": "an array", "null": "null",
}  # fmt: skip
_RULES: Final = {
    "minimum": "be at least", "maximum": "be at most", "exclusiveMinimum": "be above", "exclusiveMaximum": "be below",
    "minLength": "have a length of at least", "maxLength": "have a length of at most", "multipleOf": "be a multiple of",
    "minItems": "have a length of at least", "maxItems": "have a length of at most", "pattern": "match",
    "minProperties": "have at least this many keys:", "maxProperties": "have at most this many keys:",
}  # fmt: skip
# What a schema may say about a string's content can't be judged before the secret is known.
_OF_CONTENT: Final = ("pattern", "format", "minLength", "maxLength", "enum", "const")


class Secret(str):
    """Stands for a secret while its surroundings are checked: a string of unknown content."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Flat:
    """A schema that only names fields of simple types: checked without jsonschema, the common case at 10,000 nodes."""

    fields: dict[str, tuple[type, ...]]
    required: frozenset[str]

    def accepts(self, value: dict[str, Any]) -> bool:
        """True when the value surely fits; False means: ask jsonschema."""
        fields = self.fields
        return self.required <= value.keys() and all(
            key in fields and type(item) in fields[key] for key, item in value.items()
        )


class ParamsChecker:
    """Checks `with` of many nodes, compiling each node type's schema once."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._flat: dict[str, Flat | None] = {}
        self._validators: dict[str, Validator | None] = {}

    def check(self, node: Node, params: dict[str, Any], node_type: NodeType | None) -> None:
        """Report what is wrong with the node's parameters; without a node type, with its secret references."""
        pointer = f"{node.data_pointer}/with"
        stood_in = self._stand_in(params, pointer, node)
        if node_type is None:
            return
        uses = node_type.uses
        if uses not in self._flat:
            self._flat[uses] = flat(node_type.schema)
        simple = self._flat[uses]
        if simple is not None and simple.accepts(stood_in):
            return
        if uses not in self._validators:
            self._validators[uses] = self._compile(node_type, node)
        validator = self._validators[uses]
        if validator is not None:
            self._report(node, validator, stood_in, uses)

    def _stand_in(self, value: Any, pointer: str, node: Node) -> Any:
        """The value with each secret reference replaced; recursion is bounded by the depth of documents."""
        if isinstance(value, dict):
            if SECRET in value:
                self._judge_secret(value, pointer, node)
                return Secret()
            if not any(isinstance(item, dict | list) for item in value.values()):
                return value
            return {key: self._stand_in(item, f"{pointer}/{token(key)}", node) for key, item in value.items()}
        if isinstance(value, list):
            return [self._stand_in(item, f"{pointer}/{index}", node) for index, item in enumerate(value)]
        return value

    def _judge_secret(self, value: dict[str, Any], pointer: str, node: Node) -> None:
        name = value[SECRET]
        foreign = (isinstance(name, str) and ("/" in name or ":" in name)) or "namespace" in value
        if foreign:
            message = "a secret is named without a namespace: only those of the workflow's own can be used"
            self._findings.add("foreign-secret", pointer, message, element=node.id)
        elif not is_name(name):
            what = f"{shown(name)} is no name of a secret" if isinstance(name, str) else f"it is {kind_of(name)}"
            self._findings.add("bad-secret", pointer, f"`{SECRET}` must name a secret; {what}", element=node.id)
        elif len(value) > 1:
            self._findings.add("bad-secret", pointer, f"`{SECRET}` must stand alone", element=node.id)

    def _compile(self, node_type: NodeType, node: Node) -> Validator | None:
        from jsonschema.exceptions import SchemaError  # noqa: PLC0415 - see the module's docstring
        from referencing import Registry  # noqa: PLC0415

        kind = _validator_class()
        try:
            kind.check_schema(node_type.schema)
        except SchemaError as error:
            message = f"the schema of {shown(node_type.uses)} is invalid at {shown(error.json_path)}"
            self._findings.add("bad-schema", f"{node.data_pointer}/uses", message, element=node.id)
            return None
        # An empty registry: a schema never makes the controller fetch anything.
        validator: Validator = kind(node_type.schema, registry=Registry())
        return validator

    def _report(self, node: Node, validator: Validator, params: Any, uses: str) -> None:
        from referencing.exceptions import Unresolvable  # noqa: PLC0415

        try:
            errors = list(islice(validator.iter_errors(params), _MAX_FINDINGS))
        except Unresolvable as unresolvable:
            message = f"the schema of {shown(uses)} refers to {shown(str(unresolvable.ref))}, which is not in it"
            self._findings.add("bad-schema", f"{node.data_pointer}/uses", message, element=node.id)
            return
        for error in errors:
            for path, message in explain(error, uses):
                where = "".join(f"/{token(str(part))}" for part in path)
                self._findings.add("bad-params", f"{node.data_pointer}/with{where}", message, element=node.id)


def flat(schema: dict[str, Any]) -> Flat | None:
    """The simple form of a schema, None when it has none."""
    known = {"type", "properties", "required", "additionalProperties", "title", "description"}
    if schema.get("type") != "object" or not schema.keys() <= known:
        return None
    fields: dict[str, tuple[type, ...]] = {}
    for key, field in schema.get("properties", {}).items():
        kind = field.get("type") if isinstance(field, dict) else None
        if not isinstance(kind, str) or kind not in _EXACT:
            return None
        if not field.keys() <= {"type", "title", "description", "default", "examples"}:
            return None
        fields[key] = (*_EXACT[kind], Secret) if kind == "string" else _EXACT[kind]
    return Flat(fields, frozenset(schema.get("required", ())))


@lru_cache(maxsize=1)
def _validator_class() -> Any:
    from jsonschema import Draft202012Validator, validators  # noqa: PLC0415

    known = Draft202012Validator.VALIDATORS
    judges: dict[str, Any] = {key: _unless_secret(known[key]) for key in _OF_CONTENT}
    extend: Callable[..., Any] = validators.extend
    return extend(Draft202012Validator, {**judges, "uniqueItems": _judge_unique})


def _unless_secret(judge: Callable[..., Any]) -> Callable[..., Iterator[ValidationError]]:
    def judge_known(validator: Any, expected: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
        if not isinstance(value, Secret):
            yield from judge(validator, expected, value, schema) or ()

    return judge_known


def _judge_unique(_validator: Any, unique: Any, value: Any, _schema: Any) -> Iterator[ValidationError]:
    """As jsonschema's own, but in linear time: a document of 4 MiB may hold long arrays."""
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415

    if unique and isinstance(value, list):
        texts = [json.dumps(plain(item), sort_keys=True) for item in value if not isinstance(item, Secret)]
        if len(set(texts)) != len(texts):
            yield ValidationError("has non-unique elements")


def explain(error: ValidationError, uses: str) -> list[tuple[list[str | int], str]]:
    """Where and what, for people: the field, what is expected there, the node type.

    Never the value: an author may have put a password there.
    """
    path = list(error.absolute_path)
    field = ".".join(str(part) for part in path) or "with"
    where = f"{shown(field)} of {shown(uses)}"
    wanted, rule = str(error.validator), cast("Any", error.validator_value)
    if wanted == "required" and isinstance(error.instance, dict):
        # jsonschema reports each missing field by itself, and names it in its text only.
        missing = next((key for key in rule if repr(key) in error.message), None)
        message = f"{shown(str(missing))} of {shown(uses)} is missing: {_expects(error, missing)}"
        return [([*path, str(missing)], message)]
    if wanted == "additionalProperties" and isinstance(error.instance, dict):
        return _explain_unknown(error, path, uses)
    expected = _expected_types(error)
    if expected:
        return [(path, f"{where} must be {expected}, not {_found(error.instance)}")]
    branch = _likely_branch(error)
    if branch is not None:
        return explain(branch, uses)
    return [(path, f"{where} {_in_words(wanted, rule)}")]


def _likely_branch(error: ValidationError) -> ValidationError | None:
    """What is wrong in the alternative of an `anyOf` that the value was meant for: the one whose type it has."""
    branches: dict[Any, list[ValidationError]] = {}
    for below in error.context or ():
        branches.setdefault(below.schema_path[0], []).append(below)
    for errors in branches.values():
        if not any(below.validator == "type" and not below.path for below in errors):
            return errors[0]
    return None


def _in_words(rule: str, bound: Any) -> str:
    if rule == "enum" and isinstance(bound, list):
        return "must be " + " or ".join(escaped(json.dumps(choice)) for choice in bound[:20])
    if rule in _RULES and isinstance(bound, int | float | str):
        return f"must {_RULES[rule]} {escaped(str(bound))}"
    return f"breaks the rule {escaped(rule)}: {escaped(str(bound))}"


def _explain_unknown(error: ValidationError, path: list[str | int], uses: str) -> list[tuple[list[str | int], str]]:
    schema = error.schema if isinstance(error.schema, dict) else {}
    known: dict[str, Any] = schema.get("properties", {})
    unknown = [key for key in error.instance if key not in known] if isinstance(error.instance, dict) else []
    explained: list[tuple[list[str | int], str]] = []
    for key in unknown[:_MAX_FINDINGS]:
        near = nearest(key, known)
        hint = f"did you mean '{near}'?" if near else f"it has {', '.join(known) or 'no parameters'}"
        explained.append(([*path, key], f"{shown(key)} is no parameter of {shown(uses)}; {hint}"))
    return explained


def _expects(error: ValidationError, field: Any) -> str:
    schema = error.schema if isinstance(error.schema, dict) else {}
    kind = schema.get("properties", {}).get(field, {}).get("type")
    return f"{_IN_WORDS[kind]} is expected" if isinstance(kind, str) and kind in _IN_WORDS else "it is required"


def _expected_types(error: ValidationError) -> str | None:
    """The types that are allowed at the place, in words, when the type is what is wrong."""
    kinds: Any
    if error.validator == "type":
        kinds = error.validator_value
    elif error.validator in {"anyOf", "oneOf"} and all(below.validator == "type" for below in error.context or ()):
        kinds = [below.validator_value for below in error.context or ()]
    else:
        return None
    listed: list[Any] = kinds if isinstance(kinds, list) else [kinds]
    return " or ".join(_IN_WORDS.get(str(kind), str(kind)) for kind in listed)


def _found(value: Any) -> str:
    return "a secret" if isinstance(value, Secret) else kind_of(value)
