"""The settings of webhooks: `SENTQ_WEBHOOKS_*` over the table `[webhooks]` over defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from sentq.settings import LayeredSettings, split_at_commas
from sentq.webhooks.network.targets import parse_network, parse_pattern
from sentq.webhooks.signing import parse_secret

__all__ = ["WebhookSettings"]

_Count = Annotated[int, Field(ge=1)]


class WebhookSettings(LayeredSettings):
    """Which webhooks are sent, to whom, and how long is tried."""

    model_config = SettingsConfigDict(env_prefix="SENTQ_WEBHOOKS_")
    toml_table = "webhooks"

    secrets: Annotated[
        tuple[SecretStr, ...],
        NoDecode,
        Field(
            description="Secrets that sign webhooks: `whsec_` and base64 of 24 to 64 random bytes "
            "each, separated by commas in the environment; `sentq webhooks new-secret` makes one. "
            "Receivers get secrets that are derived from them (`sentq webhooks secret`). To "
            "replace a secret, put the new one first and keep the old one until all receivers know "
            "the new one: each request has a signature for each. Without a secret no webhook is "
            "accepted or sent."
        ),
    ] = ()
    secrets_file: Annotated[
        Path | None,
        Field(
            description="A file that contains the secrets, one on each line, in place of `secrets`."
        ),
    ] = None
    hosts: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(
            description="The hosts that may be called, such as `hooks.example.com`, "
            "`*.example.com` (its subdomains) or, with scheme and port, "
            "`http://10.1.2.3:8080`. Without a scheme only https is allowed, without a port that "
            "of the scheme. If it is empty, any host may be called by https on port 443."
        ),
    ] = ()
    private_networks: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(
            description="Networks in which receivers may be although their addresses are not "
            "public, such as `10.1.0.0/16`. They need `hosts`. Link-local addresses, with the "
            "metadata services of clouds, are never called."
        ),
    ] = ()
    tls_ca_file: Annotated[
        Path | None,
        Field(
            description="A file with the certificates of authorities (PEM) that have signed "
            "certificates of receivers, in addition to those of the system."
        ),
    ] = None
    timeout_s: Annotated[
        float,
        Field(
            ge=1,
            le=60,
            description="How long one request may take, with the look-up of the host and the "
            "response, in seconds.",
        ),
    ] = 15.0
    lifetime_s: Annotated[
        float,
        Field(
            ge=60,
            le=7 * 24 * 60 * 60,
            description="How long a webhook is tried, in seconds. After that it waits for "
            "`sentq webhooks retry`.",
        ),
    ] = 24 * 60 * 60
    in_flight: Annotated[
        int,
        Field(ge=1, le=1000, description="Most requests at a time of one process that delivers."),
    ] = 64
    in_flight_per_host: Annotated[
        int, Field(ge=1, le=1000, description="Most of these to one host.")
    ] = 8
    max_waiting: Annotated[
        _Count,
        Field(
            description="Most webhooks that wait for delivery or for a retry. While there are so "
            "many, jobs and batches with a `callback_url` are refused with `WebhooksFull`."
        ),
    ] = 10_000
    max_dead: Annotated[
        _Count,
        Field(
            description="Most webhooks that are kept after the last attempt. The oldest ones are "
            "removed first."
        ),
    ] = 10_000

    @field_validator("secrets", "hosts", "private_networks", mode="before")
    @classmethod
    def _are_separated_by_commas(cls, values: object) -> object:
        return split_at_commas(values)

    @field_validator("secrets")
    @classmethod
    def _secrets_are_valid(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in secrets:
            parse_secret(secret.get_secret_value())
        return secrets

    @field_validator("hosts")
    @classmethod
    def _hosts_are_valid(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            parse_pattern(host)
        return hosts

    @field_validator("private_networks")
    @classmethod
    def _networks_are_valid(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            parse_network(network)
        return networks

    @model_validator(mode="after")
    def _settings_fit_together(self) -> WebhookSettings:
        if self.private_networks and not self.hosts:
            raise ValueError("private_networks need hosts: else any URL would lead there")
        if self.secrets and self.secrets_file is not None:
            raise ValueError("set secrets or secrets_file, not both")
        return self

    @property
    def is_enabled(self) -> bool:
        """Whether webhooks are accepted and sent."""
        return bool(self.secrets) or self.secrets_file is not None
