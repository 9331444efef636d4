"""URLs of webhooks: what is read, what is refused, and what the operator's list allows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentq.errors import SettingsError, WebhookRefused
from sentq.webhooks.network.targets import TargetRules, WebhookTarget, parse_target
from sentq.webhooks.settings import WebhookSettings
from sentq.webhooks.signing import load_signer


def _rules(**settings: Any) -> TargetRules:
    return TargetRules(WebhookSettings.load(**settings))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", WebhookTarget("https", "example.com", 443, "/")),
        ("HTTPS://Example.COM./a?b=%20", WebhookTarget("https", "example.com", 443, "/a?b=%20")),
        ("http://example.com:8080/", WebhookTarget("http", "example.com", 8080, "/")),
        ("https://example.com?x=1", WebhookTarget("https", "example.com", 443, "/?x=1")),
        ("https://192.0.2.7/", WebhookTarget("https", "192.0.2.7", 443, "/")),
        ("https://[2606:4700::0001]/x", WebhookTarget("https", "2606:4700::1", 443, "/x")),
        (
            "https://xn--mnchen-3ya.example/",
            WebhookTarget("https", "xn--mnchen-3ya.example", 443, "/"),
        ),
        ("https://a_b-c.example/", WebhookTarget("https", "a_b-c.example", 443, "/")),
    ],
)
def test_a_url_is_read_in_parts(url: str, target: WebhookTarget) -> None:
    assert parse_target(url) == target


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            None,
            7,
            b"https://example.com/",
            "example.com",
            "//example.com/",
            "https:example.com",
        ),
        *("ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "https:a.example"),
        # Users, and what programs read as one.
        *("https://user@example.com/", "https://user:pass@example.com/", "https://@example.com/"),
        *("https://example.com\\@evil.example/", "https://evil.example\\.example.com/"),
        # White space and control characters.
        *("https://example.com /", " https://example.com/", "https://example.com/\r\nX: y"),
        *("https://exam\tple.com/", "https://example.com/\x00", "https://example.com/\n"),
        # Hosts.
        *("https:///x", "https://./", "https://-a.example/", "https://a..example/", "https://a,b/"),
        *("https://example.com:0/", "https://example.com:65536/", "https://example.com:x/"),
        *("https://example.com:/", "https://[::1/", "https://[fe80::1%25eth0]/", "https://[v1.x]/"),
        *("https://münchen.example/", "https://example。com/", "https://%6c%6fcalhost/"),
        f"https://{'a' * 64}.example/",
        # Addresses in forms that getaddrinfo reads, too.
        *("https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/", "https://127.1/"),
        *("https://127.0.0.0x1/", "https://1.2.3.4.5/", "https://127.0.0.1.256/"),
        *("https://example.com/#x", "https://example.com/" + "a" * 2048),
    ],
)
def test_other_urls_are_refused(url: object) -> None:
    with pytest.raises(WebhookRefused):
        parse_target(url)


@pytest.mark.parametrize("start", ["https://canary:7x7/", "canary", "https://canary@a.example/"])
def test_a_refusal_does_not_quote_the_url(start: str) -> None:
    with pytest.raises(WebhookRefused) as error:
        _rules(hosts="a.example").check(f"{start}canary")
    assert "canary" not in str(error.value)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(rest: str) -> None:
    for url in (rest, f"https://{rest}", f"https://example.com/{rest}"):
        try:
            target = parse_target(url)
        except WebhookRefused:
            continue
        assert target.host.isascii()
        assert target.path.isascii()
        assert target.path.isprintable()


def test_without_a_list_any_public_host_may_be_called_by_https() -> None:
    rules = _rules()
    assert rules.check("https://example.com/x").host == "example.com"
    for url in (
        *("http://example.com/", "https://example.com:8443/", "http://example.com:443/"),
        *("https://127.0.0.1/", "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/"),
    ):
        with pytest.raises(WebhookRefused):
            rules.check(url)


def test_with_a_list_only_what_it_names_may_be_called() -> None:
    rules = _rules(
        hosts="hooks.example.com, *.example.org,http://10.1.2.3:8080,https://[fd12::1]:8443",
        private_networks=["10.1.0.0/16", "fd12::/16"],
    )
    for url in (
        *("https://hooks.example.com/x", "https://a.example.org/", "https://a.b.example.org/"),
        *("http://10.1.2.3:8080/x", "https://[fd12:0::1]:8443/"),
    ):
        rules.check(url)
    for url in (
        *("https://example.com/", "https://x.hooks.example.com/", "https://example.org/"),
        *("https://evilexample.org/", "http://hooks.example.com/", "https://a.example.org:8443/"),
        *("http://10.1.2.3/", "http://10.1.2.4:8080/", "https://10.1.2.3:8080/"),
    ):
        with pytest.raises(WebhookRefused, match=r"webhooks\.hosts"):
            rules.check(url)


def test_an_address_that_the_list_names_must_be_in_an_allowed_network() -> None:
    with pytest.raises(WebhookRefused, match="private_networks"):
        _rules(hosts="http://10.1.2.3:8080").check("http://10.1.2.3:8080/")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"hosts": ["https://example.com/path"]}, "a host is written like"),
        ({"hosts": ["*"]}, "a host is written like"),
        ({"hosts": ["*.10.1.2.3"]}, "a host is written like"),
        ({"hosts": ["user@example.com"]}, "a host is written like"),
        ({"private_networks": ["10.0.0.0/8"]}, "private_networks need hosts"),
        ({"hosts": ["a.example"], "private_networks": ["10.0.0.1/8"]}, "a network is written"),
        ({"secrets": ["whsec_short"]}, "24 to 64 random bytes"),
        ({"secrets": ["c2VjcmV0IG9mIHRoZSB0ZXN0cyAwMDAx"]}, "whsec_"),
        ({"timeout_s": 0.1}, "timeout_s"),
        ({"host": ["a.example"]}, "did you mean hosts"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as error:
        WebhookSettings.load(**settings)
    assert "c2VjcmV0" not in str(error.value)


def test_without_a_secret_nothing_is_signed() -> None:
    with pytest.raises(SettingsError, match="need a secret"):
        load_signer(WebhookSettings.load())
