"""http.request: calls a web service for each item."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from treadle.data import NodeData
from treadle.errors import Permanent, Retry
from treadle.node import BlockingNode, Params
from treadle.nodes.seconds import Seconds

_TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class HttpRequestParams(Params):
    """What to send where."""

    model_config = ConfigDict(hide_input_in_errors=True)  # headers may hold secrets

    url: str | None = Field(None, description="The address, `http://` or `https://`.")
    url_field: str | None = Field(None, description="Instead of `url`: the input field that holds the address.")
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = Field("GET", description="The HTTP method.")
    headers: dict[str, str] = Field(
        default_factory=dict, description='Request headers; secrets as references: `{"$secret": "name"}`.'
    )
    query: dict[str, str | int | float | bool] = Field(default_factory=dict, description="Constant query parameters.")
    query_fields: list[str] = Field(default_factory=list, description="Input fields to send as query parameters.")
    send: Literal["nothing", "payload", "body"] = Field(
        "nothing", description="The request's body: none, the input as JSON, or `body` as JSON."
    )
    body: Any = Field(None, description="A constant body, sent as JSON with `send: body`.")
    timeout: Seconds = Field(30.0, description="Limit for connecting, and for each wait for bytes.")
    output: str = Field("response", min_length=1, description="The field for status, headers and body of the response.")
    fail_on_status: bool = Field(
        default=True, description="A status of 400 and above is an error; false hands it on like any other."
    )
    max_bytes: int = Field(512 * 1024, ge=0, description="The longest response body that is accepted.")

    @model_validator(mode="after")
    def _has_one_address(self) -> Self:
        if (self.url is None) == (self.url_field is None):
            raise ValueError("give either url or url_field")
        return self


class HttpRequest(BlockingNode[HttpRequestParams]):
    """Sends an HTTP request for each item and adds the response: `{"status", "headers", "body"}`.

    The effect id is sent as `Idempotency-Key`, the same in every repetition. The body of the response is parsed when
    it is JSON, else text, else bytes. A lost connection and the statuses that ask for patience (408, 425, 429, 500,
    502, 503, 504) are tried again, as `Retry-After` says; other errors are permanent.
    """

    uses = "http.request"

    async def open(self) -> None:
        import httpx  # noqa: PLC0415 - heavy

        self._httpx: Any = httpx
        self._client = httpx.AsyncClient(timeout=self.params.timeout, headers=self.params.headers)

    async def close(self) -> None:
        await self._client.aclose()

    async def execute(self, data: NodeData) -> NodeData:
        request = self._request(data)
        try:
            async with self._client.stream(**request) as response:
                body = await self._body(response)
        except self._httpx.TransportError as exc:
            raise Retry(f"{request['method']} {request['url']}: {type(exc).__name__}: {exc}") from exc
        except self._httpx.InvalidURL as exc:
            raise Permanent(f"{request['url']!r} is no address: {exc}") from exc
        if self.params.fail_on_status and response.status_code >= 400:
            self._fail(request, response)
        headers = dict(response.headers)
        return data.replace(**{self.params.output: {"status": response.status_code, "headers": headers, "body": body}})

    def _request(self, data: NodeData) -> dict[str, Any]:
        params = self.params
        url = params.url if params.url is not None else data[str(params.url_field)]
        query = {**params.query, **{name: data[name] for name in params.query_fields if name in data}}
        request: dict[str, Any] = {"method": params.method, "url": url, "params": query or None}
        request["headers"] = {"Idempotency-Key": self.context.effect_id}
        if params.send != "nothing":
            request["json"] = dict(data.payload) if params.send == "payload" else params.body
        return request

    async def _body(self, response: Any) -> Any:
        received = bytearray()
        async for part in response.aiter_bytes():
            received += part
            if len(received) > self.params.max_bytes:
                raise Permanent(f"{response.url}: the response is longer than {self.params.max_bytes} bytes")
        return _parsed(bytes(received), response)

    def _fail(self, request: dict[str, Any], response: Any) -> None:
        message = f"{request['method']} {request['url']}: status {response.status_code}"
        if response.status_code in _TRY_AGAIN:
            raise Retry(message, after=_retry_after(response.headers.get("retry-after"), self.context.now()))
        raise Permanent(message, status=response.status_code)


def _parsed(body: bytes, response: Any) -> Any:
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return json.loads(body)
        except ValueError:
            return body.decode("utf-8", errors="replace")
    try:
        return body.decode(response.encoding or "utf-8")
    except (UnicodeDecodeError, LookupError):
        return body


def _retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a server asks to wait; None when it does not say."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(parsedate_to_datetime(value).timestamp() - now, 0.0)
    except ValueError:
        return None
