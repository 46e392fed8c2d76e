"""WorkflowService: documents, revisions, and what became of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from treadle.v1 import workflow_service_pb2 as pb
from treadle.v1 import workflow_service_pb2_grpc as pb_grpc
from treadle.workflow import Change
from treadle_controller.api import convert, pages
from treadle_controller.api.context import Api, Context
from treadle_controller.api.errors import answers
from treadle_controller.cluster.model import Why
from treadle_controller.errors import Conflict, InvalidRequest, NotFound
from treadle_controller.leader.applying import Applied
from treadle_controller.leader.image import WorkflowImage
from treadle_controller.store import workflows

_MOST_LOOPS: Final = 1_000  # in the answer to an Apply; it would keep thousands waiting to be placed


class WorkflowService(pb_grpc.WorkflowServiceServicer):
    """See protos/treadle/v1/workflow_service.proto."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._image = api.leader.image

    @answers
    async def ValidateWorkflow(
        self, request: pb.ValidateWorkflowRequest, context: Context
    ) -> pb.ValidateWorkflowResponse:
        self._api.namespace(request.namespace)
        _, checked = await self._api.applying.judge(request.document, request.name)
        findings = [convert.finding(finding) for finding in checked.findings]
        return pb.ValidateWorkflowResponse(findings=findings, valid=checked.compiled is not None)

    @answers
    async def ApplyWorkflow(self, request: pb.ApplyWorkflowRequest, context: Context) -> pb.ApplyWorkflowResponse:
        self._api.namespace(request.namespace)
        if_revision = request.if_revision if request.HasField("if_revision") else None
        if if_revision is not None and if_revision < 0:
            raise InvalidRequest("if_revision must not be negative", field="if_revision")
        actor = self._api.actor(context)

        async def answer() -> pb.ApplyWorkflowResponse:
            applied = await self._api.applying.apply(
                request.document, request.name, actor=actor, if_revision=if_revision, dry=request.validate_only
            )
            return self._applied(applied)

        return await self._api.once(request, answer, pb.ApplyWorkflowResponse)

    @answers
    async def GetWorkflow(self, request: pb.GetWorkflowRequest, context: Context) -> pb.GetWorkflowResponse:
        namespace = self._api.namespace(request.namespace)
        one = self._api.commands.workflow(request.name)
        number = one.record.revision
        document = await self._api.leader.store.read(
            lambda connection: workflows.get_document(connection, namespace, request.name, number)
        )
        return pb.GetWorkflowResponse(workflow=convert.workflow(self._image, one, document=document))

    @answers
    async def ListWorkflows(self, request: pb.ListWorkflowsRequest, context: Context) -> pb.ListWorkflowsResponse:
        namespace = self._api.namespace(request.namespace)
        page = pages.read_page(request.page_size, request.page_token, f"workflows {namespace}")
        listed, token = pages.cut(self._image.workflows.values(), lambda one: one.name, page)
        found = [convert.workflow(self._image, one) for one in listed]
        return pb.ListWorkflowsResponse(workflows=found, next_page_token=token)

    @answers
    async def DeleteWorkflow(self, request: pb.DeleteWorkflowRequest, context: Context) -> pb.DeleteWorkflowResponse:
        self._api.namespace(request.namespace)

        async def answer() -> pb.DeleteWorkflowResponse:
            one = self._api.commands.workflow(request.name)
            if request.etag and request.etag != convert.workflow_etag(one):
                message = f"the workflow {request.name!r} has changed since that etag"
                raise Conflict(message, reason="etag-mismatch", kind="workflow", name=request.name)
            if not request.validate_only:
                actor = self._api.actor(context)
                await self._api.commands.delete(request.name, with_queues=request.with_queues, actor=actor)
            return pb.DeleteWorkflowResponse()

        return await self._api.once(request, answer, pb.DeleteWorkflowResponse)

    @answers
    async def GetRevision(self, request: pb.GetRevisionRequest, context: Context) -> pb.GetRevisionResponse:
        namespace = self._api.namespace(request.namespace)
        found = await self._api.leader.store.read(
            lambda connection: workflows.get_revision(connection, namespace, request.workflow, request.number)
        )
        if found is None:
            name = f"{request.workflow}@{request.number}"
            raise NotFound(f"there is no revision {name!r}", reason="revision-not-found", kind="revision", name=name)
        return pb.GetRevisionResponse(revision=convert.revision(namespace, found, document=True))

    @answers
    async def ListRevisions(self, request: pb.ListRevisionsRequest, context: Context) -> pb.ListRevisionsResponse:
        namespace = self._api.namespace(request.namespace)
        self._api.commands.workflow(request.workflow)
        page = pages.read_page(request.page_size, request.page_token, f"revisions {namespace} {request.workflow}")
        found = await self._api.leader.store.read(
            lambda connection: workflows.list_revisions(
                connection, namespace, request.workflow, below=page.last, most=page.size + 1
            )
        )
        token = pages.next_token(found, lambda one: one.number, page)
        listed = [convert.revision(namespace, one, document=False) for one in found[: page.size]]
        return pb.ListRevisionsResponse(revisions=listed, next_page_token=token)

    @answers
    async def GetRollout(self, request: pb.GetRolloutRequest, context: Context) -> pb.GetRolloutResponse:
        self._api.namespace(request.namespace)
        one = self._api.commands.workflow(request.workflow)
        return pb.GetRolloutResponse(rollout=convert.rollout(one, self._api.leader.rolling.steady(one)))

    @answers
    async def UndoRollout(self, request: pb.UndoRolloutRequest, context: Context) -> pb.UndoRolloutResponse:
        self._api.namespace(request.namespace)
        if request.to_revision < 0:
            raise InvalidRequest("to_revision must not be negative", field="to_revision")
        if_revision = request.if_revision if request.HasField("if_revision") else None

        async def answer() -> pb.UndoRolloutResponse:
            undone = await self._api.applying.undo(
                request.workflow,
                request.to_revision,
                actor=self._api.actor(context),
                if_revision=if_revision,
                dry=request.validate_only,
            )
            applied = self._applied(undone)
            return pb.UndoRolloutResponse(workflow=applied.workflow, changes=applied.changes)

        return await self._api.once(request, answer, pb.UndoRolloutResponse)

    def _applied(self, applied: Applied) -> pb.ApplyWorkflowResponse:
        few = applied.workflow is not None and len(applied.workflow.loops) <= _MOST_LOOPS
        holders = _holders(applied.workflow) if few else {}
        if holders or applied.placements:
            changes = [
                convert.loop_change(change, *self._whereabouts(applied, change, holders))
                for change in applied.difference.loops
            ]
        else:
            changes = [convert.loop_change(change) for change in applied.difference.loops]
        findings = [convert.finding(finding) for finding in applied.findings]
        queues = [convert.queue_change(change) for change in applied.difference.queues]
        response = pb.ApplyWorkflowResponse(changes=changes, findings=findings, queue_changes=queues)
        if applied.workflow is not None:
            answered = convert.workflow(self._image, applied.workflow, most_loops=_MOST_LOOPS)
            response.workflow.CopyFrom(answered)
        return response

    def _whereabouts(
        self, applied: Applied, change: Change, holders: Mapping[str, list[str]]
    ) -> tuple[list[str], Why | None]:
        """Return where a loop runs or would go, and why it can't be placed."""
        chosen = applied.placements.get(change.name)
        if isinstance(chosen, Why):
            return [], chosen
        if chosen is not None:
            return chosen, None
        return holders.get(change.name, []), None


def _holders(workflow: WorkflowImage | None) -> dict[str, list[str]]:
    """Return the agents of each loop, in the order of its replicas."""
    holders: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for id_, one in workflow.assignments.items() if workflow is not None else ():
        if one.held:
            holders[id_.loop].append((id_.replica, one.agent))
    return {loop: [agent for _, agent in sorted(found)] for loop, found in holders.items()}
