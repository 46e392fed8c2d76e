"""From a React Flow document to what runs: reading, checking, execution plans, digests, differences.

Pure: nothing here opens a file or a socket, and no code named in a document is ever imported.

    read_document   bytes -> document      strict JSON
    check           document -> Compiled   all findings at once; plans when none is an error
    diff            two Compiled -> what changes, loop by loop
    canonical       document -> text       the form of `wfctl fmt`
"""

from treadle.workflow.canonical import canonical
from treadle.workflow.checking import Checked, check, workflow_name
from treadle.workflow.difference import Change, Difference, diff
from treadle.workflow.findings import CODES, Code, Finding, Severity
from treadle.workflow.names import is_name
from treadle.workflow.node_type import NodeType
from treadle.workflow.plan import Compiled, Plan, Queue, Step
from treadle.workflow.reading import ReadResult, read_document

__all__ = [
    "CODES",
    "Change",
    "Checked",
    "Code",
    "Compiled",
    "Difference",
    "Finding",
    "NodeType",
    "Plan",
    "Queue",
    "ReadResult",
    "Severity",
    "Step",
    "canonical",
    "check",
    "diff",
    "is_name",
    "read_document",
    "workflow_name",
]
