"""The suite's nodes with `def execute`, as a module of a user offers them to an agent."""

from __future__ import annotations

from tests.conformance.loops.nodes import CATALOGS

globals().update({uses: type(uses, (cls,), {"uses": uses}) for uses, cls in CATALOGS["sync"].items()})
