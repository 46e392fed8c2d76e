"""The controller's configuration: a TOML file, the environment over it, flags over both."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from treadle.addresses import is_loopback
from treadle.errors import ConfigError
from treadle.telemetry.endpoint import ENDPOINT_FORM, is_endpoint
from treadle.workflow import is_name


class ControllerConfig(BaseSettings):
    """One controller. Fields are set by TREADLE_CONTROLLER_<FIELD> too; unknown keys are errors."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="TREADLE_CONTROLLER_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    name: str = Field("controller", description="What it is called in events and to agents.")
    namespace: str = Field("default", description="The namespace that it leads: one Redis namespace.")
    listen: str = Field("127.0.0.1:7420", description="Address of the gRPC API; port 0 takes any free one.")
    http_listen: str = Field("127.0.0.1:7421", description="Address of health and metrics; port 0 the same.")
    store: str = Field(
        "sqlite:////var/lib/treadle/controller.db",
        description="Where desired state is kept: sqlite:///PATH or postgresql+psycopg://...",
    )
    redis: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="The queues: redis://, rediss://, redis+sentinel:// or redis+cluster://. May hold a password.",
    )
    redis_timeout_s: float = Field(2.0, gt=0, description="How long to wait for an answer of Redis, in seconds.")
    consumer_expire_s: float = Field(
        7 * 86_400.0, ge=0, description="How long the slot of a consumer that is away is kept, in seconds; 0: for ever."
    )
    tls_cert: Path | None = Field(None, description="Certificate of the gRPC server (PEM); needs tls_key.")
    tls_key: Path | None = Field(None, description="Its private key (PEM).")
    tls_client_ca: Path | None = Field(None, description="Authority of the certificates that agents and clients show.")
    tls_ca_key: Path | None = Field(None, description="The authority's key: with it agents enrol and renew here.")
    agent_certificate_s: float = Field(
        30 * 86_400.0, ge=2.0, description="How long agents' certificates are good, in seconds; renewed at half of it."
    )
    insecure: bool = Field(False, description="Listen in plain text where others can reach it: everybody may do all.")
    otlp_endpoint: str | None = Field(None, description=f"Where telemetry is sent: {ENDPOINT_FORM}; none when empty.")
    otlp_interval_s: float = Field(15.0, ge=0.1, le=3600, description="Between two exports of metrics, in seconds.")
    otlp_logs: bool = Field(False, description="Send the controller's own log there too.")
    traces_ratio: float = Field(0.01, ge=0, le=1, description="Of the calls that bring no trace, how many begin one.")
    traces_per_second: int = Field(50, ge=0, le=100_000, description="New traces, at most; 0 for any number.")

    @field_validator("listen", "http_listen")
    @classmethod
    def _check_address(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if not colon or not host or not port.isdigit() or int(port) > 65_535:
            raise ValueError("write it as HOST:PORT, such as 127.0.0.1:7420")
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str | None) -> str | None:
        if value and not is_endpoint(value):
            raise ValueError(f"write it as {ENDPOINT_FORM}")
        return value or None

    @field_validator("name", "namespace")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not is_name(value):
            raise ValueError("a name is 1 to 128 letters, digits, '.', '_', '-', and begins with a letter or digit")
        return value

    @field_validator("store")
    @classmethod
    def _check_store(cls, value: str) -> str:
        try:
            backend = make_url(value).get_backend_name()
        except ArgumentError as exc:
            raise ValueError("write it as sqlite:///PATH or postgresql+psycopg://...") from exc
        if backend not in ("sqlite", "postgresql"):
            raise ValueError(f"{backend} is not supported; use sqlite or postgresql")
        return value

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key are given together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("tls_client_ca needs tls_cert and tls_key")
        if self.tls_ca_key is not None and self.tls_client_ca is None:
            raise ValueError("tls_ca_key needs tls_client_ca, the authority whose key it is")
        if self.tls_cert is None and not self.insecure and not is_loopback(self.listen):
            raise ValueError(
                f"on {self.listen} everybody who reaches it could do everything: give tls_cert and tls_key (see "
                "`treadle-controller ca init`), or say --insecure"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic names them
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags over the environment over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load(file: Path | None, flags: dict[str, Any]) -> ControllerConfig:
    """Return the configuration. Raises ConfigError that names every wrong field, and never shows a value."""
    if file is not None:
        _judge(file)

    class Configured(ControllerConfig):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        return Configured(**flags)
    except ValidationError as exc:
        problems = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'config'}: {one['msg']}" for one in exc.errors())
        raise ConfigError(f"the configuration can't be used: {problems}") from exc


def _judge(file: Path) -> None:
    try:
        tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigError(f"{file} can't be read: {exc}") from exc
