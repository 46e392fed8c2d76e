"""The agent's configuration: a TOML file, the environment over it, flags over both.

Every key of the file is also a variable: `TREADLE_AGENT_REDIS`, `TREADLE_AGENT_SLOTS__THREAD`, and so on. Lists are
comma-separated or JSON, labels `key=value,key=value` or JSON.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from treadle.errors import ConfigError
from treadle.telemetry.endpoint import ENDPOINT_FORM, is_endpoint

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def _process_slots() -> int:
    return max(64, 16 * (os.cpu_count() or 1))


def _half_of_memory() -> ByteSize:
    return ByteSize(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)


class SlotsConfig(BaseModel):
    """How many loops each pool of this agent takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    thread: int = Field(default=1_000, ge=0, le=4_096)  # threads of one process
    process: int = Field(default_factory=_process_slots, ge=0, le=4_096)  # at least 64, 16 a CPU
    asyncio: int = Field(default=10_000, ge=0, le=32_768)  # tasks of one process


class HostsConfig(BaseModel):
    """What each of the two shared hosts may use; with more it is replaced, its loops go on in its successor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory: ByteSize | None = Field(default_factory=_half_of_memory)  # such as "2GiB"; half of the machine's
    open_files: int | None = Field(default=None, ge=64)
    threads: int | None = Field(default=None, ge=16)


class TracesConfig(BaseModel):
    """Which iterations become traces; those that fail do anyway. Decided once for each, in the host that runs it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ratio: float = Field(default=0.01, ge=0.0, le=1.0)  # of all iterations
    per_second: int = Field(default=50, ge=0, le=100_000)  # new traces of one pool host, at most; 0: any number


class SecretsConfig(BaseModel):
    """Where `{"$secret": "name"}` in workflows gets its value on this host; see `treadle_agent.secrets`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path | None = None  # a file for each secret, named like it
    environment: str = "TREADLE_SECRET_"  # what such variables begin with; "": none are looked at


class AgentConfig(BaseSettings):
    """See the module. Made by `load_config`."""

    model_config = SettingsConfigDict(
        env_prefix="TREADLE_AGENT_", env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    controllers: Annotated[list[str], NoDecode] = Field(default=["127.0.0.1:7420"], min_length=1)  # host:port, in turn
    name: str = Field(default_factory=socket.gethostname)  # unique among the agents of a controller
    labels: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)  # what `placement` looks at
    slots: SlotsConfig = Field(default_factory=SlotsConfig)
    hosts: HostsConfig = Field(default_factory=HostsConfig)
    redis: SecretStr = SecretStr("redis://127.0.0.1:6379")  # redis, rediss, unix, redis+sentinel, redis+cluster
    nodes: Annotated[list[str], NoDecode] = Field(default_factory=list)  # modules, files or folders with node types
    entry_points: bool = True  # offer what is installed under the entry point group `treadle.nodes`
    state_dir: Path | None = None  # held by a lock: two agents can't share it. None: no lock
    cacert: Path | None = None  # speak TLS with the controllers, and believe this authority
    cert: Path | None = None  # this agent's certificate ...
    key: Path | None = None  # ... and its key
    token: SecretStr | None = (
        None  # of `wfctl agent token create`: enrol with it, unless that is done or cert is given ...
    )
    token_file: Path | None = None  # ... or the file that it is in; one that is not there is no token
    insecure: bool = False  # speak plain text with controllers on other hosts
    otlp_endpoint: str | None = None  # where traces, metrics and logs are sent: http://HOST:4317; none: nowhere
    otlp_interval_s: float = Field(default=15.0, ge=0.1, le=3600.0)  # between two exports of metrics
    otlp_logs: bool = False  # send the log, and what nodes log, there too
    traces: TracesConfig = Field(default_factory=TracesConfig)
    http_listen: str | None = None  # address of this agent's page for Prometheus, /metrics; none: no page
    secrets: SecretsConfig = Field(default_factory=SecretsConfig)
    stop_deadline_s: float = Field(default=20.0, ge=0.0, le=3600.0)  # SIGTERM: until what still runs is killed
    farewell_s: float = Field(default=10.0, ge=0.0, le=3600.0)  # of these: until we drain without the controller
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("controllers", "nodes", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return _json(value)
        return [part.strip() for part in value.split(",") if part.strip()]

    @field_validator("labels", mode="before")
    @classmethod
    def _split_labels(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("{"):
            return _json(value)
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if any(not sign for _, sign, _ in pairs):
            raise ValueError("labels are written key=value,key=value")
        return {name.strip(): text.strip() for name, _, text in pairs}

    @field_validator("nodes")
    @classmethod
    def _absolute(cls, values: list[str]) -> list[str]:
        # Children may be somewhere else by the time that they import a file.
        return [str(Path(value).resolve()) if _is_path(value) else value for value in values]

    @field_validator("otlp_endpoint")
    @classmethod
    def _good_endpoint(cls, value: str | None) -> str | None:
        if value and not is_endpoint(value):
            raise ValueError(f"it is written {ENDPOINT_FORM}")
        return value or None

    @field_validator("http_listen")
    @classmethod
    def _good_listen(cls, value: str | None) -> str | None:
        host, _, port = (value or "").rpartition(":")
        if value and not (host and port.isdigit() and int(port) < 65_536):
            raise ValueError("it is written HOST:PORT, such as 127.0.0.1:7422; port 0 takes any free one")
        return value or None

    @field_validator("name")
    @classmethod
    def _good_name(cls, value: str) -> str:
        if NAME.fullmatch(value) is None:
            raise ValueError(f"a name is 1 to 128 letters, digits, '.', '_' and '-', not {value!r}")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together")
        if self.cert is not None and self.cacert is None:
            raise ValueError("cert needs cacert: without TLS there is nobody to show it to")
        if (self.token is not None or self.token_file is not None) and self.state_dir is None:
            raise ValueError("an agent that enrols needs state_dir, where it keeps its key")
        if self.farewell_s > self.stop_deadline_s:
            raise ValueError("farewell_s cannot be longer than stop_deadline_s")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the interface of pydantic-settings
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, then the environment, then the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_config(file: Path | None, flags: Mapping[str, Any]) -> AgentConfig:
    """Return the configuration. Raises ConfigError that names every key which is wrong, and no value."""
    if urlsplit(str(flags.get("redis", ""))).password:
        raise ConfigError("a Redis password in a flag is seen by everybody on this host: use TREADLE_AGENT_REDIS")
    if file is not None and not file.is_file():
        raise ConfigError(f"there is no configuration file {file}", file=str(file))
    settings = SettingsConfigDict(toml_file=file)
    read = type("AgentConfig", (AgentConfig,), {"model_config": settings, "__module__": __name__})
    try:
        config: AgentConfig = read(**flags)
    except ValidationError as exc:
        raise ConfigError("; ".join(_sentence(error) for error in exc.errors())) from exc
    except ValueError as exc:
        raise ConfigError(f"{file}: {exc}" if file is not None else f"configuration: {exc}") from exc
    return config


def _sentence(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "configuration"
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg']}"
    known = [*AgentConfig.model_fields, *(f"slots.{name}" for name in SlotsConfig.model_fields)]
    known += [f"traces.{name}" for name in TracesConfig.model_fields]
    near = difflib.get_close_matches(where, known, n=1)
    return f"{where}: no such key" + (f"; did you mean {near[0]}?" if near else "")


def _is_path(value: str) -> bool:
    return value.endswith(".py") or "/" in value or Path(value).is_dir()


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as exc:
        raise ValueError(f"no JSON: {exc}") from exc
