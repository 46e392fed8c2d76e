"""The agent's own identity: a key that never leaves its state folder, and the certificate for it.

With a token the agent enrols: it asks a controller for its certificates, believes only an authority whose digest the
token names, and has the request for its new key signed over TLS that this authority vouches for. From half of the
certificate's life on it asks for the next one, with a new key. Key and chain are one file, replaced in one step.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from treadle.addresses import is_loopback
from treadle.errors import ConfigError
from treadle.join_token import JoinToken
from treadle.v1 import enrolment_service_pb2 as wire
from treadle.v1 import enrolment_service_pb2_grpc
from treadle_agent.errors import EnrolmentRefused
from treadle_agent.session.stream import Tls

if TYPE_CHECKING:
    from treadle_agent.config import AgentConfig

_log = logging.getLogger(__name__)
_CALL_S: Final = 10.0
_AGAIN_S: Final = 2.0  # between tries to reach a controller at all
_LEAST_WAIT_S: Final = 0.2
_TRIES: Final = 20  # in what is left of a certificate's life
# A controller without its authority's key is not among them: it may get that key.
_FINAL: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INVALID_ARGUMENT)


@dataclass(frozen=True, slots=True)
class Identity:
    """Where the agent keeps who it is."""

    folder: Path

    @property
    def tls(self) -> Tls:
        return Tls(self.folder / "ca.pem", self._file, self._file)

    @property
    def exists(self) -> bool:
        return self._file.is_file() and self.tls.ca.is_file()

    @property
    def _file(self) -> Path:
        return self.folder / "identity.pem"

    def keep(self, key_pem: bytes, chain_pem: bytes, authority_pem: bytes | None = None) -> None:
        """Write what was got; the last step makes it count."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if authority_pem is not None:
            _write(self.tls.ca, authority_pem)
        _write(self._file, key_pem + chain_pem)

    def life(self) -> tuple[float, float]:
        """Return from when and until when the certificate is good, in seconds since the epoch."""
        from cryptography import x509  # noqa: PLC0415 - an agent without TLS does without it

        certificate = x509.load_pem_x509_certificates(self._file.read_bytes())[0]
        return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


async def prepare(config: AgentConfig) -> tuple[Tls | None, Identity | None]:
    """Return how to speak with controllers, and the identity to be renewed, if it is ours to renew; enrol if needed.

    Raises ConfigError, or EnrolmentRefused when the token is not accepted.
    """
    if config.cacert is not None:
        return Tls(config.cacert, config.cert, config.key), None
    if config.state_dir is None:
        return None, None
    identity = Identity(config.state_dir / "tls")
    if identity.exists:
        return identity.tls, identity
    token = _token(config)
    if token is None:
        return None, None
    if token.name != config.name:
        raise ConfigError(f"the token is for agent {token.name}, and this is agent {config.name}")
    await _enrol(identity, token, config.controllers)
    return identity.tls, identity


def refuse_plain_text(config: AgentConfig, tls: Tls | None) -> None:
    """Raise ConfigError if a controller on another host were spoken to in the clear."""
    far = [address for address in config.controllers if not is_loopback(address)]
    if tls is None and far and not config.insecure:
        raise ConfigError(
            f"what is said to {far[0]} could be read and changed on the way: enrol with a token (token_file), "
            "give cacert, cert and key, or say insecure = true"
        )


async def renew(identity: Identity, controllers: Sequence[str], clock: Callable[[], float] = time.time) -> None:
    """Keep the certificate young, for ever."""
    turn = 0
    while True:
        begins, ends = identity.life()
        # The authority dates certificates back a little; of a short life that would be more than the half.
        wait_s = max(_LEAST_WAIT_S, (max(begins, _written(identity)) + ends) / 2 - clock())
        await asyncio.sleep(wait_s if turn == 0 else max(_LEAST_WAIT_S, (ends - clock()) / _TRIES))
        try:
            await _renew_at(identity, controllers[turn % len(controllers)])
            turn = 0
        except (grpc.aio.AioRpcError, OSError) as exc:
            turn += 1
            _log.warning("the certificate could not be renewed, trying again: %s", _sentence(exc))


async def _enrol(identity: Identity, token: JoinToken, controllers: Sequence[str]) -> None:
    """Get the first certificate; waits for a controller as long as it takes."""
    key_pem, request = _new_key(token.name)
    turn = 0
    while True:
        address = controllers[turn % len(controllers)]
        try:
            authority = await asyncio.to_thread(_find_authority, address, token.authority)
            async with _channel(address, grpc.ssl_channel_credentials(authority)) as channel:
                stub: Any = enrolment_service_pb2_grpc.EnrolmentServiceStub(channel)
                asked = wire.EnrolAgentRequest(token=str(token), request_der=request)
                answer = await stub.EnrolAgent(asked, timeout=_CALL_S)
        except (grpc.aio.AioRpcError, OSError) as exc:
            if isinstance(exc, grpc.aio.AioRpcError) and exc.code() in _FINAL:
                raise EnrolmentRefused(f"{address} does not enrol this agent: {exc.details()}") from exc
            _log.warning("no enrolment at %s yet: %s", address, _sentence(exc))
            turn += 1
            await asyncio.sleep(_AGAIN_S)
            continue
        identity.keep(key_pem, answer.chain_pem, authority)
        _log.info("enrolled", extra={"agent": token.name, "controller": address})
        return


async def _renew_at(identity: Identity, address: str) -> None:
    key_pem, request = _new_key("agent")
    async with _channel(address, identity.tls.credentials()) as channel:
        stub: Any = enrolment_service_pb2_grpc.EnrolmentServiceStub(channel)
        answer = await stub.RenewAgent(wire.RenewAgentRequest(request_der=request), timeout=_CALL_S)
    identity.keep(key_pem, answer.chain_pem)
    _log.info("the certificate was renewed", extra={"controller": address})


def _channel(address: str, credentials: grpc.ChannelCredentials) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(address, credentials, options=[("grpc.use_local_subchannel_pool", 1)])


def _find_authority(address: str, digest: str) -> bytes:
    """Return the authority (PEM) that a digest names, from what the controller shows. Raises OSError, EnrolmentRefused.

    Nothing is believed yet: whoever shows this certificate still has to be vouched for by it.
    """
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CALL_S) as plain,
        context.wrap_socket(plain) as secure,
    ):
        chain = _chain(secure)
    for certificate in chain:
        if hashlib.sha256(certificate).hexdigest() == digest:
            return ssl.DER_cert_to_PEM_cert(certificate).encode()
    raise EnrolmentRefused(f"{address} does not show the authority that the token names: it is another cluster's")


def _chain(secure: ssl.SSLSocket) -> list[bytes]:
    """Return the certificates that a server has shown: public since Python 3.13, there since 3.10."""
    public = getattr(secure, "get_unverified_chain", None)
    if public is not None:
        shown: list[bytes] = public()
        return shown
    inner: Any = secure._sslobj  # type: ignore[attr-defined] # noqa: SLF001
    return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in inner.get_unverified_chain() or ()]


def _new_key(name: str) -> tuple[bytes, bytes]:
    """Return a new key (PEM), and a request to sign it (DER)."""
    from cryptography import x509  # noqa: PLC0415 - an agent without TLS does without it
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, request.public_bytes(serialization.Encoding.DER)


def _token(config: AgentConfig) -> JoinToken | None:
    if config.token is not None:
        return JoinToken.read(config.token.get_secret_value())
    if config.token_file is None or not config.token_file.is_file():
        return None
    try:
        return JoinToken.read(config.token_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the token in {config.token_file} can't be read") from exc


def _written(identity: Identity) -> float:
    return (identity.folder / "identity.pem").stat().st_mtime


def _write(file: Path, content: bytes) -> None:
    partial = file.with_name(file.name + ".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(file)


def _sentence(exc: Exception) -> str:
    return str(exc.details()) if isinstance(exc, grpc.aio.AioRpcError) else str(exc)
