"""What the controller knows of callers besides their certificates: tokens, by their hashes, and who was revoked."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

from treadle.join_token import digest
from treadle_controller.access.caller import Caller, Role
from treadle_controller.errors import Unauthenticated
from treadle_controller.store import Store, identities
from treadle_controller.store.records import RevocationRecord, TokenRecord

JOIN_S: Final = 3_600.0
_SECRET_BYTES: Final = 32

OnRevoked = Callable[[str, str], object]


class Identities:
    """Tokens and revocations. `on_revoked(kind, name)` is told of each revocation, to cut off who is connected."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._revoked: dict[tuple[str, str], float] = {}
        self._clients: dict[str, TokenRecord] = {}  # client tokens by their hash
        self.on_revoked: OnRevoked = lambda _kind, _name: None

    async def load(self) -> None:
        """Read what is stored."""

        def read(connection: Connection) -> tuple[list[RevocationRecord], list[TokenRecord]]:
            return identities.load_revocations(connection), identities.load_tokens(connection, "client")

        revocations, tokens = await self._store.read(read)
        self._revoked = {(one.kind, one.name): one.until for one in revocations}
        self._clients = {one.digest: one for one in tokens}

    def revoked_until(self, kind: str, name: str) -> float:
        """Return up to when whatever a caller was given does not count any more."""
        return self._revoked.get((kind, name), 0.0)

    def check(self, caller: Caller) -> None:
        """Raise Unauthenticated for a caller whose certificate or token was revoked or has expired."""
        if caller.issued and caller.issued <= self.revoked_until(caller.kind, caller.name):
            raise Unauthenticated(f"{caller.kind} {caller.name} was revoked", reason="revoked")
        if caller.expires <= self._clock():
            raise Unauthenticated(f"what {caller.kind} {caller.name} has shown has expired", reason="expired")

    def bearer(self, token: str, address: str) -> Caller:
        """Return the client that has a token. Raises Unauthenticated."""
        found = self._clients.get(digest(token))
        if found is None:
            raise Unauthenticated("this token is not known", reason="token-unknown")
        roles = {found.namespace: Role(found.role)}
        return Caller("client", found.name, roles, address, found.created, found.expires)

    async def create_join(self, name: str) -> tuple[str, float]:
        """Return a secret with which an agent of this name enrols once, and until when."""
        return await self._create("agent", name, ttl_s=JOIN_S)

    async def create_client(self, name: str, role: Role, namespace: str, ttl_s: float) -> tuple[str, float]:
        """Return a token for a client, and until when it is good."""
        return await self._create("client", name, ttl_s=ttl_s, role=role, namespace=namespace)

    async def redeem(self, secret: str, name: str) -> None:
        """Use an agent's token up. Raises Unauthenticated: it is unknown, another agent's, too old or was used."""
        now = self._clock()
        found = await self._store.write(lambda connection: identities.redeem(connection, digest(secret), name, now))
        if found != "redeemed":
            sentences = {
                "token-unknown": "this token is not known",
                "token-expired": "this token has expired; make another with `wfctl agent token create`",
                "token-used": "this token was used; make another with `wfctl agent token create`",
            }
            raise Unauthenticated(sentences[found], reason=found)

    async def revoke(self, kind: str, name: str) -> None:
        """Let nothing count any more that a caller was given so far, and cut it off. On disk when it returns."""
        # A client's token may be as young as this moment; what comes after it is issued later.
        record = RevocationRecord(kind, name, self._clock())
        await self._store.write(lambda connection: identities.revoke(connection, record))
        self._revoked[kind, name] = record.until
        if kind == "client":
            self._clients = {key: one for key, one in self._clients.items() if one.name != name}
        self.on_revoked(kind, name)
        if kind == "client":  # an agent's next certificate is signed here, and dated later than this
            # Certificates tell their second only: one that is made after the answer must be of a later one.
            await asyncio.sleep(math.floor(record.until) + 1 - record.until)

    async def _create(
        self, kind: str, name: str, *, ttl_s: float, role: str = "", namespace: str = ""
    ) -> tuple[str, float]:
        secret, now = secrets.token_urlsafe(_SECRET_BYTES), self._clock()
        record = TokenRecord(digest(secret), kind, name, role, namespace, created=now, expires=now + ttl_s)
        await self._store.write(lambda connection: identities.put_token(connection, record, now))
        if kind == "client":
            self._clients = {key: one for key, one in self._clients.items() if one.expires > now}
            self._clients[record.digest] = record
        return secret, record.expires
