"""The settings that every program has. Each service's `config.py` extends them and names its prefix."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from trunkline.addresses import TLS, UNIX, check_address, is_local
from trunkline.limits import (
    DRAIN_SECONDS,
    KEEPALIVE_INTERVAL,
    KEEPALIVE_TIMEOUT,
    MAX_FRAME_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_STREAM_AGE,
    STREAM_GRACE_SECONDS,
    UNREADY_SECONDS,
)
from trunklined.access.jwt_terms import ALGORITHMS, DEFAULT_ALGORITHMS, JwtTerms
from trunklined.rpc.variables import unknown_variables


def _check_tcp_or_empty(address: str) -> str:
    if address.startswith((UNIX, TLS)):
        raise ValueError("this is served on host:port only, without TLS")
    return check_address(address) if address else address


def _check_or_empty(address: str) -> str:
    return check_address(address) if address else address


Address = Annotated[str, AfterValidator(check_address)]
AddressOrEmpty = Annotated[str, AfterValidator(_check_or_empty)]
Reflection = Literal["identity", "open"]
TcpAddressOrEmpty = Annotated[str, AfterValidator(_check_tcp_or_empty)]


class ServerSettings(BaseSettings):
    """The settings of every program, by option (`--drain-seconds`) or environment (`<prefix>DRAIN_SECONDS`).

    An option overrides the environment. An invalid value ends the program with exit code 2 and one line that names the
    setting.
    """

    model_config = SettingsConfigDict(extra="ignore", allow_inf_nan=False, validate_default=True)

    address: Address = Field(description="Where to serve: host:port (port 0: any free one) or unix:/path.")
    metrics_address: TcpAddressOrEmpty = Field(
        default="", description="Where to serve Prometheus metrics: host:port. Empty: nowhere."
    )
    health_address: TcpAddressOrEmpty = Field(
        default="",
        description="Where to serve health alone, without TLS, for probes: host:port. Empty: where all is served.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe log lines to write."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="How to write logs. auto: console on a terminal, else json."
    )
    drain_seconds: float = Field(
        default=DRAIN_SECONDS,
        ge=0,
        le=3600,
        description="What running calls and requests get to finish at SIGTERM, in seconds.",
    )
    unready_seconds: float = Field(
        default=UNREADY_SECONDS,
        ge=0,
        le=3600,
        description="How long all is served on at SIGTERM while health says NOT_SERVING, in seconds: for balancers,"
        " which need time to notice.",
    )
    max_message_bytes: int = Field(
        default=MAX_MESSAGE_BYTES,
        ge=1024,
        le=MAX_FRAME_BYTES // 2,
        description="The largest message or record, encoded.",
    )
    keepalive_interval: float = Field(
        default=KEEPALIVE_INTERVAL, ge=1, le=86_400, description="An idle connection is probed after this, in seconds."
    )
    keepalive_timeout: float = Field(
        default=KEEPALIVE_TIMEOUT,
        ge=0.1,
        le=86_400,
        description="A connection counts as lost when a probe is not answered for this long, in seconds.",
    )
    compression: Literal["off", "gzip"] = Field(
        default="off", description="gzip: callers may compress what they send, and ask for compressed answers."
    )
    tls_cert: str = Field(
        default="",
        description="The certificate to serve TLS with, and the chain above it: a PEM file, read anew when it changes."
        " Empty: no TLS.",
    )
    tls_key: str = Field(
        default="", repr=False, description="Its private key: a PEM file that nobody else can read (mode 0600)."
    )
    tls_client_ca: str = Field(
        default="",
        description="Who may sign clients' certificates: a PEM file. Then every client must show one (mutual TLS)."
        " Empty: none is asked for.",
    )
    token_file: str = Field(
        default="",
        description="Static tokens that clients come in with: a file of the lines that `trunkline access token` prints."
        " Empty: none.",
    )
    jwt_keys: str = Field(
        default="",
        description="The public keys of those who sign clients' tokens (JWT): a file, PEM or JWKS, or the https URL of"
        " a JWKS document. Empty: none are taken.",
    )
    jwt_issuer: str = Field(default="", description="Who must have issued such a token.")
    jwt_audience: str = Field(default="", description="For whom it must be.")
    jwt_algorithms: list[str] = Field(
        default=list(DEFAULT_ALGORITHMS), description="What it may be signed with: a JSON list."
    )
    jwt_identity_claim: str = Field(default="sub", min_length=1, description="Its claim that names the caller.")
    jwt_required_claims: list[str] = Field(
        default=[], description="Claims that it must have besides exp, iss, aud and that one: a JSON list."
    )
    reflection: Reflection = Field(
        default="identity", description="open: reflection is for everybody who comes in, also without a token."
    )
    insecure: bool = Field(
        default=False,
        description="Serve others than this machine without TLS, or without asking them who they are: whoever reaches"
        " the port does all.",
    )
    end_with_stdin: bool = Field(
        default=False,
        description="End gracefully when standard input ends: for a parent that must not leave programs behind.",
    )

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        """Holds that TLS is set up whole or not at all, and that nobody else reaches a port without it by accident."""
        prefix = self.model_config.get("env_prefix", "")

        def named(field: str) -> str:
            return f"--{field.replace('_', '-')} ({prefix}{field.upper()})"

        where = f"{named('address')} is {self.address}"
        both = f"{named('tls_cert')} and {named('tls_key')}"
        if not self.tls_cert:
            for name in ("tls_key", "tls_client_ca"):
                if getattr(self, name):
                    raise ValueError(f"{named(name)} is set without {named('tls_cert')}")
            if self.address.startswith(TLS):
                raise ValueError(f"{where}, which needs {both}")
        elif not self.tls_key:
            raise ValueError(f"{named('tls_cert')} is set without {named('tls_key')}")
        elif self.address.startswith(UNIX):
            raise ValueError(f"{named('tls_cert')} is set, but {where}, a UNIX socket, which is served without TLS")
        if self.exposure and not self.insecure:
            proofs = f"{named('tls_client_ca')}, {named('token_file')} or {named('jwt_keys')}"
            wanted = proofs if self.tls_cert else f"{both}, and {proofs}"
            raise ValueError(
                f"{where}, which other machines reach, {self.exposure}: set {wanted}, or say {named('insecure')} to let"
                " everybody in who reaches it"
            )
        for name in ("jwt_issuer", "jwt_audience"):
            if bool(getattr(self, name)) != bool(self.jwt_keys):
                first, second = (name, "jwt_keys") if getattr(self, name) else ("jwt_keys", name)
                raise ValueError(f"{named(first)} is set without {named(second)}")
        if unknown := [each for each in self.jwt_algorithms if each not in ALGORITHMS]:
            raise ValueError(
                f"{named('jwt_algorithms')} has {unknown[0]!r}, which cannot be allowed: {', '.join(ALGORITHMS)}"
            )
        if not self.jwt_algorithms:
            raise ValueError(f"{named('jwt_algorithms')} allows none")
        if self.jwt_keys.startswith("http:"):
            raise ValueError(f"{named('jwt_keys')} is fetched by https:// only: who changes the keys lets himself in")
        return self

    @property
    def serves_at(self) -> str:
        """`address` in the form that says whether TLS is served there."""
        return f"{TLS}{self.address}" if self.tls_cert and not self.address.startswith(TLS) else self.address

    @property
    def listens_at(self) -> str:
        """Where gRPC itself listens, in that form: `serves_at`, unless the program stands before it there."""
        return self.serves_at

    @property
    def exposure(self) -> str:
        """What is missing where others than this machine are served, in words; empty: nothing, or they are not."""
        if self.tls_cert and (self.tls_client_ca or self.token_file or self.jwt_keys):
            return ""
        if is_local(self.address):
            return ""
        return "and nobody is asked who they are" if self.tls_cert else "without TLS"

    @property
    def is_exposed(self) -> bool:
        """Whether others than this machine are served without TLS, or without being asked who they are."""
        return bool(self.exposure)

    @property
    def jwt_terms(self) -> JwtTerms | None:
        """What a token that others signed must say; None: none are taken."""
        if not self.jwt_keys:
            return None
        return JwtTerms(
            algorithms=tuple(self.jwt_algorithms),
            issuer=self.jwt_issuer,
            audience=self.jwt_audience,
            identity_claim=self.jwt_identity_claim,
            required_claims=tuple(self.jwt_required_claims),
        )

    @classmethod
    def unknown_variables(cls) -> list[str]:
        """Returns a line for each variable of the environment that is named as this program's settings are and is none
        of them; see `trunklined.rpc.variables`."""
        return unknown_variables(cls.model_config.get("env_prefix", ""), cls.model_fields, os.environ)

    @classmethod
    def asks_for_json(cls, given: Mapping[str, Any]) -> bool:
        """Returns whether logs are to be JSON, where the settings as a whole cannot be taken.

        Args:
            given: the options of the command line.
        """
        variable = f"{cls.model_config.get('env_prefix', '')}LOG_FORMAT"
        return bool(given.get("log_format", os.environ.get(variable)) == "json")


class MovingSettings(BaseSettings):
    """Of a service with long streams and several replicas: when streams are asked to move."""

    max_stream_age: float = Field(
        default=MAX_STREAM_AGE,
        ge=0,
        le=86_400,
        description="Of several replicas over Redis: a client's stream is asked to move to another one after this, give"
        " or take a fifth, in seconds. 0: only at SIGTERM.",
    )
    stream_grace_seconds: float = Field(
        default=STREAM_GRACE_SECONDS,
        ge=0,
        le=86_400,
        description="What such a stream has until it ends, where its client does not move, in seconds.",
    )


class AccessSettings(BaseSettings):
    """The settings of a program that has permissions, beside those of every program."""

    access_file: str = Field(
        default="",
        description="Who may do what: a TOML file, read anew when it changes; what it does not allow is denied. Empty:"
        " whoever comes in may do everything.",
    )
    audit_file: str = Field(
        default="",
        description="Where denials and acts of administration are written, as JSON lines. Empty: to the log alone.",
    )
    metrics_identities: int = Field(
        default=20,
        ge=0,
        le=10_000,
        description="How many identities metrics name: the first that are refused something. All others are 'other'.",
    )
