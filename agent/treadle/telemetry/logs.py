"""Log records in OpenTelemetry's wire format."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.logs.v1 import logs_pb2 as pb
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from treadle.telemetry.conventions import SCHEMA_URL, SCOPE
from treadle.telemetry.encoding import clean, pairs
from treadle.telemetry.record import LogRecord

_SEVERITY: Final[dict[str, int]] = {"DEBUG": 5, "INFO": 9, "WARNING": 13, "ERROR": 17, "CRITICAL": 21}


def encode_logs(records: Iterable[LogRecord], resource: Resource) -> bytes:
    """Return an export request for log records."""
    request = ExportLogsServiceRequest()
    of_resource = request.resource_logs.add(resource=resource, schema_url=SCHEMA_URL)
    of_scope = of_resource.scope_logs.add(scope=InstrumentationScope(name=SCOPE), schema_url=SCHEMA_URL)
    of_scope.log_records.extend([_encoded(record) for record in records])
    return request.SerializeToString()


def _encoded(record: LogRecord) -> pb.LogRecord:
    traced = bool(record.trace_id)
    return pb.LogRecord(
        time_unix_nano=int(record.time * 1e9),
        observed_time_unix_nano=int(record.time * 1e9),
        severity_number=_SEVERITY.get(record.level, 9),  # type: ignore[arg-type]
        severity_text=record.level,
        body=AnyValue(string_value=clean(record.body)),
        attributes=pairs(record.attributes),
        trace_id=record.trace_id.to_bytes(16, "big") if traced else b"",
        span_id=record.span_id.to_bytes(8, "big") if traced else b"",
        flags=1 if traced else 0,
    )
