"""http.request against a real server on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from treadle.errors import Permanent, Retry
from treadle.nodes.http_request import HttpRequest
from treadle.testing import run_node


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked; the path says how."""

    seen: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        request = {"method": self.command, "path": self.path, "body": body.decode(), "headers": dict(self.headers)}
        self.seen.append(request)
        status = int(self.path.split("/")[1].split("?")[0] or 200)
        self.send_response(status)
        self.send_header("content-type", "application/json")
        if status == 429:
            self.send_header("retry-after", "7")
        self.end_headers()
        self.wfile.write(json.dumps(request).encode())

    do_POST = do_GET  # noqa: N815 - http.server's name

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Echo.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="echo")
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_response_is_added_to_the_item(url: str) -> None:
    params = {"url": f"{url}/200", "query": {"a": 1}, "query_fields": ["b"]}

    run = run_node(HttpRequest, params, [{"b": "x y"}])

    (item,) = run.items
    assert item["b"] == "x y"
    assert item["response"]["status"] == 200
    assert item["response"]["body"]["path"] == "/200?a=1&b=x+y"


def test_the_payload_can_be_sent_and_the_effect_id_is_the_idempotency_key(url: str) -> None:
    params = {"url_field": "to", "method": "POST", "send": "payload", "headers": {"X-Token": "t"}}

    run_node(HttpRequest, params, [{"to": f"{url}/200", "n": 1}, {"to": f"{url}/200", "n": 2}])

    assert [json.loads(request["body"])["n"] for request in Echo.seen] == [1, 2]
    assert len({request["headers"]["Idempotency-Key"] for request in Echo.seen}) == 2
    assert Echo.seen[0]["headers"]["X-Token"] == "t"


def test_a_repetition_has_the_same_idempotency_key(url: str) -> None:
    for _ in range(2):
        run_node(HttpRequest, {"url": f"{url}/200"}, [{}])

    assert len({request["headers"]["Idempotency-Key"] for request in Echo.seen}) == 1


def test_a_server_that_asks_for_patience_is_asked_again_later(url: str) -> None:
    with pytest.raises(Retry) as caught:
        run_node(HttpRequest, {"url": f"{url}/429"}, [{}])

    assert caught.value.after == 7.0


def test_a_refusal_is_permanent_unless_it_is_wanted(url: str) -> None:
    with pytest.raises(Permanent, match="status 404"):
        run_node(HttpRequest, {"url": f"{url}/404"}, [{}])

    run = run_node(HttpRequest, {"url": f"{url}/404", "fail_on_status": False}, [{}])
    assert run.items[0]["response"]["status"] == 404


def test_a_server_that_is_not_there_is_tried_again() -> None:
    with pytest.raises(Retry, match="ConnectError"):
        run_node(HttpRequest, {"url": "http://127.0.0.1:9/"}, [{}])


def test_a_response_that_is_too_long_is_refused(url: str) -> None:
    with pytest.raises(Permanent, match="longer than 10 bytes"):
        run_node(HttpRequest, {"url": f"{url}/200", "max_bytes": 10}, [{}])
