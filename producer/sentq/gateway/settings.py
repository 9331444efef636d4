"""The gateway's own settings: `SENTQ_GATEWAY_*` over the table `[gateway]` over defaults."""

from __future__ import annotations

import ipaddress
from typing import Annotated, ClassVar, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from sentq.settings import LayeredSettings, split_at_commas

__all__ = ["GatewaySettings", "is_loopback"]

_Seconds = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=1)]


class GatewaySettings(LayeredSettings):
    """Where a gateway listens, and what one request may take."""

    model_config = SettingsConfigDict(env_prefix="SENTQ_GATEWAY_")
    toml_table: ClassVar[str | None] = "gateway"

    host: Annotated[
        str,
        Field(
            min_length=1,
            description="The address to listen on. Without a key (`sentq gateway keys create`), "
            "the gateway starts on a loopback address only.",
        ),
    ] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="The port; 0 chooses a free one.")] = (
        8200
    )
    default_wait_s: Annotated[
        _Seconds,
        Field(
            description="How long `POST /v1/score` waits for the outcome if the request does not "
            "say (`Prefer: wait=…`), in seconds."
        ),
    ] = 10
    max_wait_s: Annotated[
        _Seconds, Field(description="How long a request may wait for an outcome, in seconds.")
    ] = 60
    max_body_bytes: Annotated[
        int,
        Field(
            ge=1024,
            description="Most bytes of the body of a request, after decompression. Uploads of "
            "batches have no limit: each of their lines has this one.",
        ),
    ] = 2 * 1024 * 1024
    body_timeout_s: Annotated[
        _Seconds,
        Field(
            description="How long a client may send nothing of a body that it has begun, in "
            "seconds. A body with a limited size must have arrived after three times as long."
        ),
    ] = 20
    heartbeat_s: Annotated[
        _Seconds,
        Field(
            description="How often a stream of events has a line in which nothing has changed, in "
            "seconds, so that proxies keep the connection."
        ),
    ] = 15
    max_connections: Annotated[
        _Count,
        Field(
            description="Most connections at once. Requests on further ones are refused with "
            "status 503, but for `/livez` and `/readyz`."
        ),
    ] = 2000
    cors_origins: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(
            description="Origins whose pages may call the gateway in a browser, such as "
            "`https://app.example.com`, separated by commas in the environment; `*` for all. "
            "Without any, browsers let only pages of the gateway itself do so."
        ),
    ] = ()
    console_shows_texts: Annotated[
        bool,
        Field(
            description="Whether the console shows the texts of dead letters to keys with the "
            "scope `admin`."
        ),
    ] = False
    delivers_webhooks: Annotated[
        bool,
        Field(
            description="Whether the gateway delivers webhooks, if there is a secret in "
            "`[webhooks]`. If not, it accepts them, and needs no secret and no way to receivers: "
            "`sentq webhooks deliver` must run elsewhere."
        ),
    ] = True
    shutdown_grace_s: Annotated[
        _Seconds,
        Field(
            description="How long requests may go on after SIGTERM, in seconds. Those that wait "
            "for an outcome are answered at once."
        ),
    ] = 20

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins_are_separated_by_commas(cls, origins: object) -> object:
        return split_at_commas(origins)

    @model_validator(mode="after")
    def _waits_fit_together(self) -> Self:
        if self.default_wait_s > self.max_wait_s:
            raise ValueError("default_wait_s must not be longer than max_wait_s")
        return self

    @property
    def is_on_loopback(self) -> bool:
        """Whether only programs of this machine reach the gateway."""
        return is_loopback(self.host)


def is_loopback(name: str) -> bool:
    """Return whether a name or an address is that of this machine for itself alone."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
