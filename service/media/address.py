"""Which addresses belong to the public internet, and to nobody nearer.

A server stands where its callers do not: what it may reach (its own ports, its network, the
metadata of its cloud) is not for them to have fetched.
"""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that has been given out for public use."""
_NAT64 = IPv6Network("64:ff9b::/96")
"""How a network without IPv4 reaches the IPv4 address in the last 32 bits."""

# What `is_global` does not know everywhere (before Python 3.12.4), or cannot know.
_NEARER: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "192.0.0.0/24",  # protocol assignments, among them Oracle's metadata
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # Azure's host, which looks public and answers from inside only
        "2001::/23",  # protocol assignments, among them Teredo's tunnels
        "2002::/16",  # 6to4: a tunnel to any IPv4 address
        "3fff::/20",  # documentation
    )
)


def is_public(text: str) -> bool:
    """Whether a numeric address, as a socket has it, may be connected to for a caller."""
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None:
            return address in _UNICAST and _is_public(address)
        address = inner
    return _is_public(address)


def _is_public(address: Address) -> bool:
    if any(address.version == each.version and address in each for each in _NEARER):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
