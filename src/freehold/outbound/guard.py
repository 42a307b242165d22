"""The address guard: which addresses a stranger may make this server talk to. Names are judged after resolving.

It sees addresses, never names: whoever dials resolves first, asks here about every address found, and connects to
exactly those. So a name that changes its answer between the check and the connection gains nothing, and each odd
spelling of an address (`0x7f.1`, `2130706433`, `[::ffff:127.0.0.1]`) is judged as the address that it means.

The ranges are those of the IANA special-purpose address registries (RFC 6890 and its updates), listed here because
`ipaddress.is_global` has changed its mind between Python releases; further the metadata services that clouds keep on
otherwise ordinary addresses.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from freehold.outbound.failures import AddressRefused

Address = IPv4Address | IPv6Address

_REFUSED_V4 = {
    IPv4Network(text): why
    for text, why in {
        "0.0.0.0/8": "this network",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "shared carrier space",
        "127.0.0.0/8": "loopback",
        "168.63.129.16/32": "a cloud's metadata service",
        "169.254.0.0/16": "link-local or a cloud's metadata service",
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "protocol assignments",
        "192.0.2.0/24": "documentation",
        "192.31.196.0/24": "AS112",
        "192.52.193.0/24": "AMT",
        "192.88.99.0/24": "6to4 relays",
        "192.168.0.0/16": "private",
        "192.175.48.0/24": "AS112",
        "198.18.0.0/15": "benchmarking",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved or broadcast",
    }.items()
}
_GLOBAL_V6 = IPv6Network("2000::/3")
"""The only IPv6 space that is handed out for the open internet; all else is refused as not global."""
_REFUSED_V6 = {
    IPv6Network(text): why
    for text, why in {
        "2001::/23": "protocol assignments, Teredo among them",
        "2001:db8::/32": "documentation",
        "2620:4f:8000::/48": "AS112",
        "3fff::/20": "documentation",
    }.items()
}
_CARRIES_V4 = (
    # A prefix whose addresses reach an IPv4 host, and how far that host's address is shifted from the right.
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # translated, RFC 2765
    (IPv6Network("::/96"), 0),  # compatible, deprecated
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("2002::/16"), 80),  # 6to4
)


def why_refused(address: Address) -> str | None:
    """Why a stranger may not have this address dialled, in a few words, or None if they may."""
    if isinstance(address, IPv4Address):
        return next((why for network, why in _REFUSED_V4.items() if address in network), None)
    for network, shift in _CARRIES_V4:
        if address in network and int(address) > 1:
            return why_refused(IPv4Address((int(address) >> shift) & 0xFFFFFFFF))
    if address not in _GLOBAL_V6:
        return "loopback" if int(address) == 1 else "not a global unicast address"
    return next((why for network, why in _REFUSED_V6.items() if address in network), None)


def require_public(host: str, addresses: list[str]) -> None:
    """Pass if every address found for `host` may be dialled.

    One bad address refuses the name: an honest name has no reason to point inside as well as outside.

    Raises:
        AddressRefused: names the host and the reason, not the address (which would tell a stranger about our network).
    """
    for text in addresses:
        why = why_refused(ip_address(text.partition("%")[0]))
        if why is not None:
            raise AddressRefused(f"{host} points to an address that is not allowed here ({why}).")
