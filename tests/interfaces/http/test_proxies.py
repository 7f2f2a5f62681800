"""Trusted proxies: whose word counts, and how far."""

import pytest

from mainspring.interfaces.http.proxies import Proxies, is_loopback, network_of

PROXIES = Proxies(["10.0.0.0/8", "2001:db8:1::/48"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "x_forwarded_for", "expected"),
    [
        ("203.0.113.9", 'for="198.51.100.1"', "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", None, "", "10.0.0.1"),
        ("10.0.0.1", None, "198.51.100.1", "198.51.100.1"),
        # What the caller wrote itself stands left of what our proxy saw.
        ("10.0.0.1", None, "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", None, "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        # One of them is the proxy's and the other the caller's: nobody can tell which.
        ("10.0.0.1", "for=198.51.100.1", "203.0.113.5", "10.0.0.1"),
        ("10.0.0.1", "for=127.0.0.1", "198.51.100.1", "10.0.0.1"),
        ("10.0.0.1", "for=1.1.1.1, for=198.51.100.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", 'For="[2001:db8::7]:443";proto=https', "", "2001:db8::7"),
        ("10.0.0.1", "for=1.1.1.1, for=198.51.100.1:1234;by=10.0.0.1", "", "198.51.100.1"),
        ("10.0.0.1", "for=198.51.100.1, for=unknown", "", "10.0.0.1"),
        ("10.0.0.1", 'for="_hidden"', "", "10.0.0.1"),
        ("10.0.0.1", 'for="a,b";for=198.51.100.1', "", "198.51.100.1"),
        ("::ffff:10.0.0.1", None, "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", None, "not an address", "10.0.0.1"),
        ("", None, "198.51.100.1", ""),
    ],
)
def test_the_caller_is_the_first_hop_from_the_right_that_is_no_proxy(
    peer: str, forwarded: str | None, x_forwarded_for: str, expected: str
) -> None:
    address, _ = PROXIES.origin(peer, "http", forwarded, (x_forwarded_for, ""))
    assert address == expected


def test_the_scheme_is_believed_only_from_a_proxy() -> None:
    x_forwarded = ("198.51.100.1", "https")
    assert PROXIES.origin("10.0.0.1", "http", None, x_forwarded)[1] == "https"
    assert PROXIES.origin("192.0.2.1", "http", None, x_forwarded)[1] == "http"
    assert Proxies().origin("10.0.0.1", "http", None, x_forwarded) == ("10.0.0.1", "http")


def test_a_long_chain_is_cut() -> None:
    chain = ", ".join(["10.0.0.9"] * 10_000)
    assert PROXIES.origin("10.0.0.1", "http", None, (chain, "")) == ("10.0.0.9", "http")


def test_a_limit_counts_a_subscriber() -> None:
    assert network_of("2001:db8::1:2:3:4") == network_of("2001:db8::9") == "2001:db8::/64"
    assert network_of("2001:db8:0:1::9") != network_of("2001:db8::9")
    assert network_of("::ffff:192.0.2.7") == network_of("192.0.2.7")
    assert network_of("no address") == "no address"


def test_loopback_is_known() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "::1", "localhost", "::ffff:127.0.0.1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "10.0.0.1", "::", "example.org"]))
