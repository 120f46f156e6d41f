"""Which addresses are fetched from, and which never."""

from __future__ import annotations

import pytest

from diglot.service.media.address import is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.0.1", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.0.1",
        "192.168.0.1", "100.64.0.1", "100.100.100.200", "169.254.169.254", "192.0.0.192",
        "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "168.63.129.16",
        "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::127.0.0.1", "::8.8.8.8", "fc00::1", "fd00::1", "fd00:ec2::254", "fe80::1",
        "fe80::1%eth0", "fec0::1", "ff02::1", "100::1", "2001:db8::1", "3fff::1", "5f00::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8",
        "2002:7f00:1::", "2002:808:808::1", "2001:0:808:808::1", "2001:20::1",
    ],
)  # fmt: skip
def test_nearer_than_the_internet(address: str) -> None:
    """This machine, this network, this cloud, tunnels that lead there, and what nobody has."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "192.0.1.1", "100.63.0.1", "223.0.0.1",
        "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
    ],
)  # fmt: skip
def test_public(address: str) -> None:
    """NAT64 is how a network without IPv4 reaches the rest, so its addresses count as theirs."""
    assert is_public(address)
