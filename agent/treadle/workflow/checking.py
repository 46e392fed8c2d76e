"""Checking: from a document to all of its findings and, when none is an error, to its plans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from treadle.workflow.bindings import settle_queue_names
from treadle.workflow.compiler import compile_draft
from treadle.workflow.containers import containers_of_loops
from treadle.workflow.draft import Draft
from treadle.workflow.findings import Finding, Findings
from treadle.workflow.flow import trace
from treadle.workflow.graph import read_graph, top_level
from treadle.workflow.implementations import Implementations, Offer
from treadle.workflow.loops import settle_loops
from treadle.workflow.names import is_name, kind_of, shown
from treadle.workflow.params import ParamsChecker
from treadle.workflow.queue_table import build_queues
from treadle.workflow.rules import judge_loops, judge_nodes
from treadle.workflow.settings import read_settings, read_top

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from treadle.workflow.graph import Graph
    from treadle.workflow.node_type import NodeType
    from treadle.workflow.plan import Compiled


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of a document: its plans, None when a finding is an error, and all findings."""

    compiled: Compiled | None
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings for which the document is refused."""
        return tuple(finding for finding in self.findings if finding.severity == "error")


def workflow_name(document: Any, file_stem: str) -> str:
    """What the workflow is called: its own `name`, else the file's stem. `check` says when it is no name."""
    named = top_level(document).get("name") if isinstance(document, dict) else None
    return named[0] if named is not None and isinstance(named[0], str) else file_stem


def check(
    document: Any,
    *,
    name: str,
    node_types: Mapping[str, NodeType] | None,
    offered: Collection[str] | None = None,
    offline: bool = False,
) -> Checked:
    """Judge a document and compile it.

    `node_types` is everything that any agent ever offered (offline: treadle's own and those of `--nodes`), None when
    nobody knows; `offered` names those of the agents that are there now, None when that does not matter. The document
    is not changed, and may be anything that `read_document` gives.
    """
    findings = Findings()
    graph = read_graph(document, findings)
    if graph is None:
        return Checked(None, findings.listed())
    _judge_name(graph, name, findings)
    draft = _draft(graph, name, Offer(node_types, offered, offline), findings)
    queues = build_queues(draft, findings)
    compiled = None if findings.failed else compile_draft(draft, queues)
    return Checked(compiled, findings.listed())


def _judge_name(graph: Graph, name: str, findings: Findings) -> None:
    written = graph.top.get("name")
    pointer = f"{graph.top_pointers.get('name', '')}/name"
    if written is not None and not isinstance(written, str):
        findings.add("bad-name", pointer, f"the workflow's name is {kind_of(written)}, not a string")
    elif not is_name(name):
        findings.add("bad-name", pointer, f"{shown(name)} is no name for a workflow")


def _draft(graph: Graph, name: str, offer: Offer, findings: Findings) -> Draft:
    flow = trace(graph, findings)
    draft = Draft(name, graph, flow, read_top(graph.top, graph.top_pointers, findings))
    for node in (*graph.containers.values(), *graph.nodes.values()):
        kind = flow.kind(node)
        draft.written[node.id] = read_settings(kind, node.data, node.data_pointer, node.id, findings)
    settle_loops(draft, containers_of_loops(graph, flow, findings), findings)
    settle_queue_names(draft, findings)
    _find_node_types(draft, offer, findings)
    judge_nodes(draft, findings)
    judge_loops(draft, findings)
    return draft


def _find_node_types(draft: Draft, offer: Offer, findings: Findings) -> None:
    implementations, params = Implementations(offer, findings), ParamsChecker(findings)
    for node in draft.graph.nodes.values():
        written = draft.written[node.id]
        node_type = implementations.find(node, written["uses"]) if "uses" in written else None
        if node_type is not None:
            draft.node_types[node.id] = node_type
        if "uses" in written or "with" in written:
            params.check(node, written.get("with", {}), node_type)
