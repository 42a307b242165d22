"""Which addresses a stranger may have dialled: every range, and every spelling of an address."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from freehold.outbound.failures import AddressRefused
from freehold.outbound.guard import require_public, why_refused

REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
ALLOWED = [
    "1.1.1.1",
    "8.8.8.8",
    "11.0.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "126.255.255.255",
    "128.0.0.1",
    "160.79.104.10",
    "168.63.129.17",
    "172.15.255.255",
    "172.32.0.1",
    "192.167.255.255",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_inside_is_refused(address: str) -> None:
    assert why_refused(ip_address(address)) is not None


@pytest.mark.parametrize("address", ALLOWED)
def test_an_address_outside_is_allowed(address: str) -> None:
    assert why_refused(ip_address(address)) is None


SPELLINGS = ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.1", "localhost", "::ffff:7f00:1"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_spelling_is_judged_as_the_address_that_it_means(spelling: str) -> None:
    found = {str(entry[4][0]) for entry in socket.getaddrinfo(spelling, 80, type=socket.SOCK_STREAM)}
    assert found
    with pytest.raises(AddressRefused):
        require_public(spelling, sorted(found))


def test_one_bad_address_among_good_ones_refuses_the_name() -> None:
    with pytest.raises(AddressRefused, match=r"evil\.example"):
        require_public("evil.example", ["8.8.8.8", "10.0.0.1"])


def test_a_zone_does_not_hide_an_address() -> None:
    with pytest.raises(AddressRefused):
        require_public("x", ["fe80::1%eth0"])


def test_the_refusal_does_not_tell_the_address() -> None:
    with pytest.raises(AddressRefused) as caught:
        require_public("inside.example", ["10.1.2.3"])
    assert "10.1.2.3" not in str(caught.value)
