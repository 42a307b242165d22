"""Names and rules: every spelling has one meaning, and addresses have none."""

from __future__ import annotations

import pytest

from freehold.environments.networking import (
    EgressSettings,
    NotAHostName,
    Policy,
    canonical,
    check_networking,
    policy_of,
    proxy_variables,
    rule,
)
from freehold.errors import InvalidRequest

NOTHING = EgressSettings()


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("API.Example.COM", "api.example.com"),
        ("example.com.", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("1e100.net", "1e100.net"),
    ],
)
def test_a_name_has_one_spelling(host: str, name: str) -> None:
    assert canonical(host) == name


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "0x7f000001", "0177.0.0.1", "1.2.3.0x4", "0x", "example.1"),
        *("[::1]", "::1", "[::ffff:127.0.0.1]", "fe80::1%eth0"),
        *("", ".", "..", "a..b", "-a.com", "a-.com", "a b.com", "a/b", "a@b.com", "evil.com\0.good.com", "a%00b"),
        *("x" * 64 + ".com", "a." * 130 + "com", "a\n.com", "a:80", "*.com", "exa\u3002mple\0.com"),
    ],
)
def test_an_address_or_a_trick_is_no_name(host: str) -> None:
    with pytest.raises(NotAHostName):
        canonical(host)


def limited(*hosts: str, **more: bool) -> Policy:
    config = {"networking": {"type": "limited", "allowed_hosts": list(hosts), **more}}
    return policy_of(config, ("mcp.example.com",), NOTHING)


def test_without_networking_there_is_no_way_out() -> None:
    assert policy_of({}, ("mcp.example.com",), NOTHING).closed
    assert limited().closed
    assert not limited("a.com").closed


def test_a_name_allows_itself_on_the_ports_of_the_web() -> None:
    policy = limited("api.example.com")
    assert policy.refusal("api.example.com", 443) is None
    assert policy.refusal("api.example.com", 80) is None
    for name, port in (("api.example.com", 22), ("example.com", 443), ("x.api.example.com", 443), ("a.com", 443)):
        assert policy.refusal(name, port) is not None


def test_a_star_allows_what_is_below_and_not_itself() -> None:
    policy = limited("*.example.com")
    assert policy.refusal("a.example.com", 443) is None
    assert policy.refusal("a.b.example.com", 443) is None
    assert policy.refusal("example.com", 443) is not None
    assert policy.refusal("evilexample.com", 443) is not None


def test_a_port_allows_that_port_only() -> None:
    policy = limited("git.example.com:22")
    assert policy.refusal("git.example.com", 22) is None
    assert policy.refusal("git.example.com", 443) is not None


def test_package_managers_and_mcp_servers_open_just_their_hosts() -> None:
    packages = limited(allow_package_managers=True)
    assert packages.refusal("pypi.org", 443) is None
    assert packages.refusal("mcp.example.com", 443) is not None
    servers = limited(allow_mcp_servers=True)
    assert servers.refusal("mcp.example.com", 443) is None
    assert servers.refusal("pypi.org", 443) is not None


def test_unrestricted_allows_every_name_and_still_no_port_that_is_none() -> None:
    policy = policy_of({"networking": {"type": "unrestricted"}}, (), NOTHING)
    assert policy.refusal("anything.example", 8443) is None
    assert policy.refusal("anything.example", 0) is not None
    assert policy.refusal("anything.example", 65536) is not None


@pytest.mark.parametrize(
    "text", ["127.0.0.1", "*.com", "*", "https://a.com", "a.com:", "a.com:http", "a.com:0", "", "a.*.com"]
)
def test_an_entry_that_means_nothing_is_refused(text: str) -> None:
    if text == "a.com:":
        assert rule(text).port is None
        return
    with pytest.raises(InvalidRequest, match="allowed_hosts"):
        check_networking({"type": "limited", "allowed_hosts": [text]})


def test_a_list_without_end_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most"):
        check_networking({"allowed_hosts": [f"h{n}.example.com" for n in range(201)]})


def test_every_common_client_is_told_of_the_proxy() -> None:
    said = proxy_variables(3128)
    wanted = {
        "http_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "no_proxy",
        "NODE_USE_ENV_PROXY",
        "npm_config_proxy",
        "PIP_PROXY",
    }
    assert wanted <= set(said)
    assert "3128" in said["JAVA_TOOL_OPTIONS"]
