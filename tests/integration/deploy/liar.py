"""An agent's certificate in the wrong hands: `liar.py FOLDER hello NAME` or `liar.py FOLDER batch NAME LOOP EPOCH`.

Prints the code with which the controller ends the session.
"""

from __future__ import annotations

import queue
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from treadle.v1 import dispatcher_service_pb2 as pb
from treadle.v1 import dispatcher_service_pb2_grpc, loop_pb2


def main() -> None:
    """Say what is asked for, and print what comes of it."""
    folder, mode, name, *about = sys.argv[1:]
    own = (Path(folder) / "identity.pem").read_bytes()
    credentials = grpc.ssl_channel_credentials((Path(folder) / "ca.pem").read_bytes(), own, own)
    said: queue.Queue[pb.SessionRequest] = queue.Queue()
    said.put(pb.SessionRequest(hello=pb.Hello(agent=name, boot_id=uuid.uuid4().hex)))
    with grpc.secure_channel("10.20.0.1:7420", credentials) as channel:
        stub: Any = dispatcher_service_pb2_grpc.DispatcherServiceStub(channel)
        call = stub.Session(_all(said), timeout=20)
        try:
            for answer in call:
                if mode == "batch" and answer.HasField("welcome"):
                    said.put(_batch(answer.welcome.session_id, about[0], int(about[1])))
        except grpc.RpcError as exc:
            print(exc.code().name)  # noqa: T201 - what it is for


def _batch(session: str, loop: str, epoch: int) -> pb.SessionRequest:
    unknown = loop_pb2.LoopStatus(loop=loop_pb2.LoopRef(workflow="host-metrics", loop="none"), epoch=1)
    stolen = loop_pb2.LoopStatus(
        loop=loop_pb2.LoopRef(workflow="host-metrics", loop=loop),
        epoch=epoch,
        sequence=1_000,
        state=loop_pb2.LOOP_STATE_ERROR,
    )
    return pb.SessionRequest(session_id=session, report=pb.Report(sequence=1, statuses=[unknown, stolen]))


def _all(said: queue.Queue[pb.SessionRequest]) -> Iterator[pb.SessionRequest]:
    while True:
        yield said.get()


if __name__ == "__main__":
    main()
