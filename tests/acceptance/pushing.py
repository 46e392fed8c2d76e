"""Pushing numbers to an external queue, as a program outside does."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import msgspec

from treadle.v1 import queue_service_pb2, queue_service_pb2_grpc


def push(address: str, queue: str, numbers: Sequence[int], metadata: Sequence[tuple[str, str]] = ()) -> None:
    """Push one message for each number; no number twice."""
    payloads = [msgspec.msgpack.encode({"n": number}) for number in numbers]
    request = queue_service_pb2.PushQueueRequest(name=queue, payloads=payloads, producer="test", sequence=max(numbers))
    with grpc.insecure_channel(address) as channel:
        queue_service_pb2_grpc.QueueServiceStub(channel).PushQueue(request, metadata=tuple(metadata), timeout=20)
