"""The authority of a cluster: signs the certificates of its controller, agents and clients."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from treadle_controller.access.caller import Caller, Role
from treadle_controller.errors import InvalidRequest, NeedsMending

_DAY_S: Final = 86_400.0
AUTHORITY_S: Final = 3650 * _DAY_S
CONTROLLER_S: Final = 365 * _DAY_S
EARLY_S: Final = 60  # certificates hold from a little before: clocks differ
_URI: Final = "treadle:"
_LEAST_RSA_BITS: Final = 2048
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


class Authority:
    """A certificate that is trusted, and its key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, name: str) -> Self:
        """Make a new one, good for ten years."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key.public_key(), _now(), AUTHORITY_S)
        usage = _usage(signs_certificates=True)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Self:
        """Read both files. Raises NeedsMending, naming the file that can't be used."""
        try:
            found = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
        except (OSError, ValueError, IndexError) as exc:
            raise NeedsMending(f"{certificate} is no certificate that can be read: {exc}") from exc
        try:
            secret = load_pem_private_key(key.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise NeedsMending(f"{key} is no key that can be read") from exc
        if not isinstance(secret, ec.EllipticCurvePrivateKey) or secret.public_key() != found.public_key():
            raise NeedsMending(f"{key} is not the key of {certificate}")
        return cls(found, secret)

    @property
    def digest(self) -> str:
        """SHA-256 of the certificate, as tokens carry it."""
        return hashlib.sha256(self._certificate.public_bytes(Encoding.DER)).hexdigest()

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return key_pem(self._key)

    def sign_controller(self, key: ec.EllipticCurvePublicKey, hosts: Sequence[str]) -> bytes:
        """Return a chain (PEM) for a controller that is reached under these names and addresses."""
        names = [_host(one) for one in hosts]
        return self._sign("treadle-controller", key, names, CONTROLLER_S, ExtendedKeyUsageOID.SERVER_AUTH, _now())

    def sign_agent(self, name: str, request_der: bytes, lifetime_s: float, *, after: float = 0.0) -> bytes:
        """Return a chain for an agent. Of its request only the key counts. Raises InvalidRequest.

        The certificate counts as issued later than `after`.
        """
        names = [x509.UniformResourceIdentifier(f"{_URI}agent/{name}")]
        issued = max(_now(), after + 1)
        key = _requested(request_der)
        return self._sign(name, key, names, lifetime_s, ExtendedKeyUsageOID.CLIENT_AUTH, issued)

    def sign_client(
        self, name: str, key: ec.EllipticCurvePublicKey, roles: Mapping[str, Role], lifetime_s: float
    ) -> bytes:
        """Return a chain for a person or a program with a role in some namespaces."""
        uris = [f"{_URI}client/{name}", *(f"{_URI}role/{where}/{role}" for where, role in roles.items())]
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        return self._sign(name, key, names, lifetime_s, ExtendedKeyUsageOID.CLIENT_AUTH, _now())

    def _sign(
        self,
        common_name: str,
        key: PublicKey,
        names: Sequence[x509.GeneralName],
        lifetime_s: float,
        purpose: x509.ObjectIdentifier,
        issued: float,
    ) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
        builder = _builder(subject, self._certificate.subject, key, issued, lifetime_s)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(Encoding.PEM) + self.pem


def read_caller(certificate_der: bytes, address: str) -> Caller:
    """Return whom a certificate names, after TLS has verified it. One that names nobody of ours is nobody."""
    certificate = x509.load_der_x509_certificate(certificate_der)
    kind, name, roles = "nobody", "", dict[str, Role]()
    for uri in _uris(certificate):
        what, _, rest = uri.removeprefix(_URI).partition("/")
        where, _, role = rest.rpartition("/")
        if what in ("agent", "client") and kind == "nobody":
            kind, name = what, rest
        elif what == "role" and role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN):
            roles[where] = Role(role)
    issued = certificate.not_valid_before_utc.timestamp() + EARLY_S
    expires = certificate.not_valid_after_utc.timestamp()
    return Caller(kind, name, roles if kind == "client" else {}, address, issued, expires)


def hosts_of(chain_pem: bytes) -> list[str]:
    """Return the names and addresses of a controller's certificate."""
    certificate = x509.load_pem_x509_certificates(chain_pem)[0]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_secret(file: Path, content: bytes) -> None:
    """Write a file that only its owner reads, in one step."""
    partial = file.with_name(file.name + ".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
    partial.replace(file)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: PublicKey,
    issued: float,
    lifetime_s: float,
) -> x509.CertificateBuilder:
    begin = dt.datetime.fromtimestamp(int(issued) - EARLY_S, dt.UTC)
    end = dt.datetime.fromtimestamp(int(issued + lifetime_s), dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)


def _requested(request_der: bytes) -> PublicKey:
    """Return the key that a request asks for, after it has shown that it has the other half."""
    try:
        request = x509.load_der_x509_csr(request_der)
        key, proven = request.public_key(), request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as exc:
        raise InvalidRequest("this is no certificate signing request", field="request_der") from exc
    if proven:
        match key:
            case ec.EllipticCurvePublicKey() | ed25519.Ed25519PublicKey():
                return key
            case rsa.RSAPublicKey() if key.key_size >= _LEAST_RSA_BITS:
                return key
    raise InvalidRequest("the request is not signed by its own key, or that key is weak", field="request_der")


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith(_URI)]


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _now() -> float:
    return dt.datetime.now(dt.UTC).timestamp()
