"""Every name that telemetry uses, by OpenTelemetry's semantic conventions in one pinned version, and treadle's own.

Those of OpenTelemetry are written out: importing them from their package would cost each pool host its memory. A
test compares them with that package.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = "1.44.0"
SCHEMA_URL: Final = f"https://opentelemetry.io/schemas/{VERSION}"
SCOPE: Final = "treadle"

# Resource.
SERVICE_NAME: Final = "service.name"
SERVICE_NAMESPACE: Final = "service.namespace"
SERVICE_INSTANCE_ID: Final = "service.instance.id"
SERVICE_VERSION: Final = "service.version"
HOST_NAME: Final = "host.name"
PROCESS_PID: Final = "process.pid"

# Messaging.
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
MESSAGING_BATCH_MESSAGE_COUNT: Final = "messaging.batch.message_count"
MESSAGING_CLIENT_ID: Final = "messaging.client.id"
MESSAGING_CONSUMER_GROUP_NAME: Final = "messaging.consumer.group.name"

# Calls.
RPC_SYSTEM_NAME: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_RESPONSE_STATUS_CODE: Final = "rpc.response.status_code"

# Errors.
ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
EXCEPTION: Final = "exception"  # the name of the event

# Treadle's own.
NAMESPACE: Final = "treadle.namespace"
WORKFLOW: Final = "treadle.workflow"
LOOP: Final = "treadle.loop"
REPLICA: Final = "treadle.replica"
REVISION: Final = "treadle.revision"
EPOCH: Final = "treadle.epoch"
AGENT: Final = "treadle.agent"
POOL: Final = "treadle.pool"
NODE: Final = "treadle.node"
USES: Final = "treadle.node.uses"
ATTEMPT: Final = "treadle.attempt"
ITERATION: Final = "treadle.iteration"
STATE: Final = "treadle.state"  # of a loop, in metrics
OUTCOME: Final = "treadle.outcome"  # of attempts, in metrics
SIGNAL: Final = "treadle.signal"  # of telemetry's own metrics
AFTERWARDS: Final = "treadle.afterwards"  # true: not sampled, recorded from what metrics had noted once it had failed

# Values.
SYSTEM: Final = "treadle"
GRPC: Final = "grpc"
SEND: Final = "send"
RECEIVE: Final = "receive"
PROCESS: Final = "process"
SETTLE: Final = "settle"

# Headers of messages and metadata of calls, by the W3C.
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
BAGGAGE: Final = "baggage"
