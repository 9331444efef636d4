"""TLS of the connections: every certificate and host name is verified, unless a setting says not.

    URL + tls_… settings ── tls_address() ──▶ URL without options of TLS + options of redis-py

Kombu does not verify a bare `rediss://`, Celery's result backend refuses it, and each reads other
options of a URL. So the options are taken from the URL here, once, and both get the same ones as
`broker_use_ssl` and `redis_backend_use_ssl`.
"""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from sentq.errors import SettingsError
from sentq.settings import Settings

__all__ = ["TlsAddress", "sentinel_options", "tls_address", "warn_if_insecure"]

logger = logging.getLogger(__name__)

_MODES: Final = {
    "required": "required",
    "cert_required": "required",
    "optional": "optional",
    "cert_optional": "optional",
    "none": "none",
    "cert_none": "none",
}
_FLAGS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

#: The options that a URL may have. Those of redis-py, as far as their values are text.
_URL_OPTIONS: Final = (
    "ssl_cert_reqs",
    "ssl_check_hostname",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_ciphers",
)


@dataclass(frozen=True, slots=True)
class TlsAddress:
    """An address of a broker or of results, and how it is verified.

    Attributes:
        url: The URL without options of TLS.
        options: The options of redis-py, or of py-amqp; None if the address is without TLS.
    """

    url: str = field(repr=False)
    options: Mapping[str, Any] | None = field(repr=False)

    @property
    def is_insecure(self) -> bool:
        """Whether the server's certificate, or its host name, is not verified."""
        return self.options is not None and _is_insecure(self.options)

    @property
    def marker(self) -> Mapping[str, str]:
        """A transport option that kombu ignores, different for different options of TLS.

        Kombu's pools of connections are shared by all apps of a process that have the same URL and
        transport options. So another app's unverified connection would be used for a URL that is
        to be verified.
        """
        if self.options is None:
            return {}
        shown = {key: value for key, value in self.options.items() if key != "ssl_password"}
        return {"sentq_tls": json.dumps(shown, sort_keys=True, default=str)}


def tls_address(url: str, settings: Settings, *, name: str) -> TlsAddress:
    """Split a URL into the address and the options of TLS.

    Args:
        url: As the user has set it; several are separated by semicolons.
        settings: The files and whether verification may be turned off.
        name: The setting that the URL is from, for messages.

    Raises:
        SettingsError: An option is unknown or turns verification off, a file cannot be used, or
            only some of several addresses have TLS.
    """
    chunks, options = [], dict[str, str]()
    for chunk in url.split(";"):
        address, found = _split_options(chunk)
        chunks.append(address)
        options |= found
    schemes = {chunk.partition("://")[0].lower() for chunk in chunks if "://" in chunk}
    address = ";".join(chunks)
    if "rediss" in schemes and len(schemes) > 1:
        raise SettingsError(f"{name}: either all addresses have TLS (rediss://) or none")
    if schemes & {"amqps", "pyamqps"}:
        _refuse_options(options, name, "an amqps:// URL has no ssl_… options; use tls_ca_file")
        return TlsAddress(address, _amqp_options(settings))
    if schemes == {"rediss"} or (schemes == {"sentinel"} and options):
        return TlsAddress(address, _redis_options(options, settings, name))
    _refuse_options(options, name, "ssl_… options need a rediss:// or sentinel:// URL")
    if schemes == {"sentinel"} and _has_files(settings):
        raise SettingsError(
            f"{name}: with tls_… settings, sentinel:// needs ?ssl_cert_reqs=required; without it "
            "there is no TLS"
        )
    return TlsAddress(address, None)


def sentinel_options(
    address: TlsAddress, settings: Settings, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of connections to Sentinels: time-outs, and TLS as for Redis.

    Args:
        address: The address of the Sentinels.
        settings: The time-outs.
        given: The user's `sentinel_kwargs`; `ssl = false` is for Sentinels without TLS.

    Raises:
        SettingsError: The user's options turn verification off.
    """
    options: dict[str, Any] = {
        "socket_connect_timeout": settings.connect_timeout_s,
        "socket_timeout": settings.socket_timeout_s,
    }
    has_tls = given.get("ssl", address.options is not None)
    if has_tls:
        options |= {"ssl": True, **(address.options or _redis_options({}, settings, "sentinel"))}
    options |= given
    if has_tls:
        _check_verification(options, settings, "transport_options.sentinel_kwargs")
    return options


def warn_if_insecure(*addresses: TlsAddress) -> None:
    """Log a warning if an address is not verified."""
    if any(address.is_insecure for address in addresses):
        logger.warning(
            "TLS certificates of Redis are not verified (tls_insecure_skip_verify): a program on "
            "the network can pose as Redis, and read passwords and texts"
        )


def _split_options(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL without options of TLS, and these."""
    address, _, query = url.partition("?")
    options, kept = {}, []
    for part in query.split("&") if query else ():
        pairs = parse_qsl(part, keep_blank_values=True)
        if pairs and pairs[0][0].lower().startswith("ssl"):
            options[pairs[0][0].lower()] = pairs[0][1]
        else:
            kept.append(part)
    return "?".join([address, *(["&".join(kept)] if kept else [])]), options


def _refuse_options(options: Mapping[str, str], name: str, message: str) -> None:
    if options:
        raise SettingsError(f"{name}: {message}")


def _has_files(settings: Settings) -> bool:
    return bool(settings.tls_ca_file or settings.tls_cert_file)


def _redis_options(given: Mapping[str, str], settings: Settings, name: str) -> dict[str, Any]:
    """Return the options of redis-py: those of a URL over the settings."""
    unknown = sorted(given.keys() - set(_URL_OPTIONS))
    if unknown:
        known = ", ".join(_URL_OPTIONS)
        raise SettingsError(f"{name}: {unknown[0][:40]} is not an option of TLS; known: {known}")
    is_verified = not settings.tls_insecure_skip_verify
    options: dict[str, Any] = {
        "ssl_cert_reqs": "required" if is_verified else "none",
        "ssl_check_hostname": is_verified,
    }
    if settings.tls_ca_file is not None:
        options["ssl_ca_certs"] = str(settings.tls_ca_file)
    if settings.tls_cert_file is not None:
        options["ssl_certfile"] = str(settings.tls_cert_file)
        options["ssl_keyfile"] = str(settings.tls_key_file or settings.tls_cert_file)
    options |= given
    if "ssl_cert_reqs" in given:
        options["ssl_cert_reqs"] = _MODES.get(given["ssl_cert_reqs"].lower())
        if options["ssl_cert_reqs"] is None:
            raise SettingsError(f"{name}: ssl_cert_reqs must be required, optional or none")
        if "ssl_check_hostname" not in given:
            options["ssl_check_hostname"] = options["ssl_cert_reqs"] != "none"
    if "ssl_check_hostname" in given:
        options["ssl_check_hostname"] = _FLAGS.get(given["ssl_check_hostname"].lower())
        if options["ssl_check_hostname"] is None:
            raise SettingsError(f"{name}: ssl_check_hostname must be true or false")
    _check_verification(options, settings, name)
    _check_files(options)
    return options


def _amqp_options(settings: Settings) -> dict[str, Any]:
    """Return the options of py-amqp, which verifies certificates but no host name by default."""
    if settings.tls_insecure_skip_verify:
        return {"cert_reqs": ssl.CERT_NONE}
    # Kombu replaces a None by the host of the URL.
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}
    if settings.tls_ca_file is not None:
        options["ca_certs"] = str(settings.tls_ca_file)
    if settings.tls_cert_file is not None:
        options["certfile"] = str(settings.tls_cert_file)
        options["keyfile"] = str(settings.tls_key_file or settings.tls_cert_file)
    return options


def _is_insecure(options: Mapping[str, Any]) -> bool:
    if "cert_reqs" in options:
        return bool(options["cert_reqs"] != ssl.CERT_REQUIRED)
    mode = options.get("ssl_cert_reqs", "required")
    return mode not in ("required", ssl.CERT_REQUIRED) or not options.get(
        "ssl_check_hostname", True
    )


def _check_verification(options: Mapping[str, Any], settings: Settings, name: str) -> None:
    if _is_insecure(options) and not settings.tls_insecure_skip_verify:
        raise SettingsError(
            f"{name}: ssl_cert_reqs and ssl_check_hostname may not turn off the verification of "
            "certificates, unless tls_insecure_skip_verify = true says that this is wanted"
        )


def _check_files(options: Mapping[str, Any]) -> None:
    """Load the files as redis-py will, so that an error names the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities = options.get("ssl_ca_certs")
    if authorities is not None:
        try:
            context.load_verify_locations(authorities)
        except OSError as error:
            raise SettingsError(
                f"the file of certificate authorities {authorities} cannot be used: {error}"
            ) from None
    certificate, key = options.get("ssl_certfile"), options.get("ssl_keyfile")
    if certificate is None and key is None:
        return
    if certificate is None:
        raise SettingsError(f"the key file {key} needs a certificate: set tls_cert_file")
    # A password that is not given must not be asked for at a terminal.
    password = options.get("ssl_password", "")
    try:
        context.load_cert_chain(certificate, key, password=lambda: password)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"the certificate {certificate} with the key {key} cannot be used: {error}"
        ) from None
