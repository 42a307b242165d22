"""Which proxy an upstream is reached by, as the environment says."""

from __future__ import annotations

import pytest

from freehold.outbound.dial import Origin
from freehold.outbound.proxies import is_exempt, parse_proxy, proxy_for

CLAUDE = Origin("https", "api.anthropic.com", 443)


@pytest.mark.parametrize(
    ("no_proxy", "exempt"),
    [
        ("", False),
        ("*", True),
        ("anthropic.com", True),
        (".anthropic.com", True),
        ("*.anthropic.com", True),
        ("api.anthropic.com:443", True),
        ("api.anthropic.com:8443", False),
        ("example.com, API.Anthropic.com", True),
        ("thropic.com", False),
        ("10.0.0.0/8", False),
        (",,", False),
    ],
)
def test_no_proxy_covers_names_and_their_subdomains(no_proxy: str, exempt: bool) -> None:
    assert is_exempt(CLAUDE, no_proxy) is exempt


@pytest.mark.parametrize(("no_proxy", "exempt"), [("10.0.0.0/8", True), ("10.1.2.3", True), ("10.1.2.4", False)])
def test_no_proxy_covers_networks(no_proxy: str, exempt: bool) -> None:
    assert is_exempt(Origin("https", "10.1.2.3", 443), no_proxy) is exempt


def test_the_variables_are_those_that_everybody_sets() -> None:
    assert proxy_for(CLAUDE, {}) is None
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        proxy = proxy_for(CLAUDE, {name: "http://proxy.example:3128", "HTTP_PROXY": "http://other:1"})
        assert proxy is not None
        assert (proxy.origin.host, proxy.origin.port, proxy.credential) == ("proxy.example", 3128, None)
    assert proxy_for(CLAUDE, {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "anthropic.com"}) is None
    for here in ("localhost", "127.0.0.1", "::1"):
        assert proxy_for(Origin("http", here, 80), {"HTTP_PROXY": "http://p:1"}) is None


def test_a_password_is_sent_and_never_shown() -> None:
    proxy = parse_proxy("http://me:s%40cret@proxy.example")
    assert (proxy.credential, proxy.origin.port) == (b"Basic bWU6c0BjcmV0", 8080)
    assert "bWU6" not in repr(proxy)
    with pytest.raises(ValueError, match="SOCKS") as caught:
        parse_proxy("socks5://me:secret@proxy.example")
    assert "secret" not in str(caught.value)
