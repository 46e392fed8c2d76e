"""A controller behind TLS with an agent, as programs in other languages meet it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.running import Ran, wait_until, wfctl
from tests.integration.agent.process import AgentProcess
from tests.integration.controller.secured import Identity, SecuredController
from tests.servers import TestServer, redis_server
from treadle_controller.access.caller import Role

ROOT = Path(__file__).resolve().parents[3]


class SecuredCluster:
    """See the module. `environment` is what a client is started with."""

    def __init__(self, folder: Path, controller: SecuredController, queues: TestServer) -> None:
        self.folder = folder
        self.controller = controller
        self.queues = queues

    def files(self, name: str, identity: Identity) -> tuple[str, str]:
        """Write a certificate and its key; returns where they are."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"
        certificate.write_bytes(identity.chain)
        key.write_bytes(identity.key)
        key.chmod(0o600)
        return str(certificate), str(key)

    def wfctl(self, *argv: str) -> Ran:
        """Run wfctl as an operator."""
        known = self.environment()
        flags = ("--cacert", known["WF_CACERT"], "--cert", known["WF_CERT"], "--key", known["WF_KEY"])
        return wfctl(*flags, *argv, address=self.controller.address)

    def apply_queues(self, name: str, queues: Collection[str]) -> None:
        """Apply a workflow that has queues for programs outside, and does nothing with them itself."""
        place = {"position": {"x": 0, "y": 0}}
        rarely = {"uses": "timer", "with": {"cron": "0 0 29 2 *"}}
        nodes: list[dict[str, Any]] = [{"id": "tick", "type": "producer", **place, "data": rarely}]
        nodes += ({"id": one, "type": "queue", **place, "data": {"queue": one, "external": True}} for one in queues)
        edges = [{"id": one, "source": "tick", "target": one} for one in queues]
        document = self.folder / f"{name}.json"
        document.write_text(json.dumps({"name": name, "nodes": nodes, "edges": edges}))
        ran = self.wfctl("apply", "--detach", "-f", str(document))
        assert ran.code == 0, ran.err

    def environment(self) -> dict[str, str]:
        """Return what programs outside need to know: where, as whom, and with which files."""
        cert, key = self.files("program", self.controller.client("program", Role.OPERATOR))
        other_cert, other_key = self.files("looker", self.controller.client("looker", Role.VIEWER))
        return {
            "WF_ADDRESS": self.controller.address,
            "WF_CACERT": str(self.controller.tls / "ca.pem"),
            "WF_CERT": cert,
            "WF_KEY": key,
            "OTHER_CERT": other_cert,
            "OTHER_KEY": other_key,
            "TREADLE_PROTOS": str(ROOT / "protos"),
        }


@contextmanager
def secured_cluster(folder: Path, *, aof: str = "off") -> Iterator[SecuredCluster]:
    """Run a controller, an agent and a server for the queues; everybody shows certificates."""
    with redis_server(aof=aof) as server:
        controller = SecuredController(folder, server.url)
        controller.start()
        cluster = SecuredCluster(folder, controller, server)
        cert, key = cluster.files("tested", controller.agent("tested"))
        tls = {"CACERT": str(controller.tls / "ca.pem"), "CERT": cert, "KEY": key}
        environment = {f"TREADLE_AGENT_{name}": value for name, value in tls.items()}
        agent = AgentProcess(controller.address, server.url, folder / "agent.log", **environment)
        try:
            wait_until(lambda: cluster.wfctl("node-types", "show", "transform").code == 0, "the agent is there", 60.0)
            yield cluster
            assert agent.terminate() == 0
        finally:
            agent.clean_up()
            controller.kill()
        assert "Traceback" not in controller.log() + agent.text()
