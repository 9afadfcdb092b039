"""The settings of a program that keeps something in Redis; a service's `config.py` reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Self, cast

from pydantic import AfterValidator, BaseModel, Field, model_validator

from trunkline.errors import TlsError
from trunkline.tls.pem import SYSTEM
from trunklined.redis.target import Target, check_prefix, parse_url
from trunklined.redis.tls import Tls


def _check_url(url: str) -> str:
    if url:
        parse_url(url)
    return url


class RedisSettings(BaseModel):
    """Where Redis is, beside what a program can be told else."""

    redis_url: Annotated[str, AfterValidator(_check_url)] = Field(
        default="",
        repr=False,
        description="Where Redis is: redis://[user:password@]host:port/db, redis+sentinel://host:port,host:port/service,"
        " redis+cluster://host:port,host:port, or rediss… for TLS. Rather by the environment than by the option.",
    )
    redis_prefix: Annotated[str, AfterValidator(check_prefix)] = Field(
        default="trunkline", description="What every key in Redis begins with: one for each installation."
    )
    redis_timeout: float = Field(
        default=5.0, gt=0, le=600, description="How long to wait for Redis: a connection, an answer, in seconds."
    )
    redis_wait: float = Field(
        default=5.0,
        ge=0,
        le=600,
        description="How long calls wait for a Redis that is away, in seconds; no longer than their deadlines. 0: they"
        " fail at once.",
    )
    redis_tls_ca: str = Field(
        default=SYSTEM,
        description="Who may sign Redis's certificate: a PEM file, read anew when it changes. system: whom the"
        " operating system trusts. Needs rediss://.",
    )
    redis_tls_cert: str = Field(
        default="", description="This program's certificate for Redis: a PEM file. Empty: none is shown."
    )
    redis_tls_key: str = Field(
        default="", repr=False, description="Its private key: a PEM file that nobody else can read (mode 0600)."
    )
    redis_sentinel_user: str = Field(default="", description="The ACL user of the sentinels.")
    redis_sentinel_password: str = Field(default="", repr=False, description="The password of the sentinels.")

    @model_validator(mode="after")
    def _check_redis(self) -> Self:
        if getattr(self, "engine", None) == "redis" and not self.redis_url:
            raise ValueError("the engine redis needs --redis-url (or the variable that ends with REDIS_URL)")
        is_set = self.redis_tls_ca != SYSTEM or self.redis_tls_cert or self.redis_tls_key
        if is_set and not self.redis_url.startswith("rediss"):
            raise ValueError("--redis-tls-ca, -cert and -key need a URL that begins with rediss")
        if bool(self.redis_tls_cert) != bool(self.redis_tls_key):
            raise ValueError("--redis-tls-cert and --redis-tls-key belong together")
        if self.redis_url and (tls := self.redis_target().tls) is not None:
            try:
                tls.context()
            except TlsError as error:
                raise ValueError(error.message) from None
        return self

    @classmethod
    def in_process(cls, redis_url: str, prefix: str, **others: Any) -> Self:
        """Returns the defaults of a service that keeps its data in Redis; the environment is not asked.

        Args:
            others: settings that are no defaults; not checked.

        Raises:
            ValueError: the URL or the prefix is none; names it.
        """
        for name, check, given in (("redis_url", parse_url, redis_url), ("prefix", check_prefix, prefix)):
            try:
                check(given)
            except ValueError as error:
                raise ValueError(f"{name} {error}") from error
        where = RedisSettings(redis_url=redis_url, redis_prefix=prefix)
        return cast("Self", cls.model_construct(engine="redis", **where.model_dump(exclude_unset=True), **others))

    def redis_target(self) -> Target:
        """Returns where Redis is, as these settings say."""
        target = parse_url(self.redis_url)
        tls = target.tls and Tls(self.redis_tls_ca, self.redis_tls_cert, self.redis_tls_key)
        return replace(
            target,
            tls=tls,
            prefix=self.redis_prefix,
            timeout=self.redis_timeout,
            wait=self.redis_wait,
            sentinel_user=self.redis_sentinel_user or None,
            sentinel_password=self.redis_sentinel_password or None,
        )
