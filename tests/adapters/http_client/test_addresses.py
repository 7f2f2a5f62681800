import ipaddress

import pytest

from mainspring.adapters.http_client.addresses import NOT_ONE_HOST, NOT_PUBLIC, check_address, parse
from mainspring.ports.http_client import WebError


def refused(url: str, *, allow_private: bool = False) -> str:
    with pytest.raises(WebError) as caught:
        parse(url, allow_private=allow_private)
    if caught.value.code == "address_refused" and "port" not in caught.value.detail:
        assert caught.value.detail in {NOT_PUBLIC, NOT_ONE_HOST}
    return caught.value.code


@pytest.mark.parametrize(
    ("given", "requested"),
    [
        ("https://Example.COM", "https://example.com/"),
        ("https://example.com.", "https://example.com/"),
        ("HTTPS://example.com:443/a?b=c%20d", "https://example.com/a?b=c%20d"),
        ("http://example.com:80/", "http://example.com/"),
        ("http://example.com:8080/x;y=1/../z", "http://example.com:8080/x;y=1/../z"),
        ("https://bücher.example/hook", "https://xn--bcher-kva.example/hook"),
        ("https://faß.example/", "https://xn--fa-hia.example/"),
        ("https://93.184.216.34/", "https://93.184.216.34/"),
        ("https://[2606:4700:4700:0::1111]/", "https://[2606:4700:4700::1111]/"),
        ("https://under_score.example/", "https://under_score.example/"),
        ("https://example.com?x=1", "https://example.com/?x=1"),
    ],
)
def test_a_url_is_normalised(given: str, requested: str) -> None:
    assert parse(given, allow_private=False).url == requested


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "//example.com/", "ftp://example.com/", "file:///etc/passwd",
        "gopher://example.com/", "http:///path", "http://", "https:/example.com",
        "https://user@example.com/", "https://user:pw@example.com/", "https://@example.com/",
        "https://example.com#fragment", "https://example.com/#", "https://exa mple.com/",
        "https://example.com/a b", "https://example.com\\@evil.example/", "https://example.com/\n",
        " https://example.com/", "https://example.com:0/", "https://example.com:65536/",
        "https://example.com:/", "https://example.com:80a/", "https://example.com/%zz",
        "https://ex%61mple.com/", "https://-bad.example/", "https://a..b/", "https://.example/",
        "https://" + "a" * 64 + ".example/", "https://" + "a." * 130 + "example/",
        "https://[::1", "https://[fe80::1%eth0]/", "https://[::ffff:1.2.3.4.5]/", "https://[v1.a]/",
        "https://example.com/" + "a" * 2048, "https://example.com/ü", "https://xn--a-ü.example/",
    ],
)  # fmt: skip
def test_what_is_no_plain_http_url_is_refused(url: str) -> None:
    assert refused(url) == "url_refused"
    assert refused(url, allow_private=True) == "url_refused"


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "017700000001", "127.0.0.01",
        "0x", "1.2.3.4.5", "256.256.256.256", "example.0x7f", "999", "1.2.3.0x4",
    ],
)  # fmt: skip
def test_numbers_that_systems_read_as_addresses_are_refused(host: str) -> None:
    assert refused(f"http://{host}/", allow_private=True) == "url_refused"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "100.127.255.255", "0.0.0.0", "0.1.2.3", "224.0.0.1",
        "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.0.0.8", "192.0.2.1", "198.18.0.1",
        "198.51.100.7", "203.0.113.9", "192.88.99.1", "127.0.0.1.",
        "１２７.0.0.1", "127。0。0。1", "①②⑦.0.0.1",  # noqa: RUF001
        "[::1]", "[::]", "[fe80::1]", "[fec0::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]",
        "[2001:db8::1]", "[2001::1]", "[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "[2002:7f00:1::]",
        "[2002:5db8:d822::1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]",
        "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::5db8:d822]", "[100::1]", "[3fff::1]", "[5f00::1]",
        "[2606:4700::5efe:10.0.0.1]", "[2606:4700::200:5efe:7f00:1]",
    ],
)  # fmt: skip
def test_addresses_that_lead_inside_are_refused(host: str) -> None:
    assert refused(f"http://{host}/") == "address_refused"


@pytest.mark.parametrize(
    "text",
    [
        "1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "192.0.1.1", "198.20.0.1",
        "2606:4700:4700::1111", "2a00:1450:4001::1", "::ffff:93.184.216.34",
        "64:ff9b::5db8:d822", "2606:4700::5efe:1.1.1.1",
    ],
)  # fmt: skip
def test_public_addresses_are_allowed(text: str) -> None:
    check_address(ipaddress.ip_address(text), allow_private=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.1.2.3", "169.254.169.254", "localhost"])
def test_a_setting_opens_the_private_ranges(host: str) -> None:
    assert parse(f"http://{host}:22/", allow_private=True).port == 22


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "224.0.0.1", "[ff02::1]", "[::ffff:0.0.0.0]"])
def test_no_setting_opens_addresses_of_no_host(host: str) -> None:
    assert refused(f"http://{host}/", allow_private=True) == "address_refused"


@pytest.mark.parametrize("port", [21, 22, 25, 110, 445, 1023])
def test_ports_of_infrastructure_are_refused(port: int) -> None:
    assert refused(f"http://example.com:{port}/") == "address_refused"


def test_every_ipv4_address_the_standard_library_calls_private_is_refused_too() -> None:
    """Walks the edges of all networks `ipaddress` knows to be special, in this Python."""
    edges = {0, 2**32 - 1}
    for network in ipaddress.IPv4Address._constants._private_networks:
        for edge in (int(network.network_address), int(network.broadcast_address)):
            edges |= {edge - 1, edge, edge + 1}
    for value in sorted(e for e in edges if 0 <= e < 2**32):
        address = ipaddress.IPv4Address(value)
        if not address.is_global or address.is_multicast or address.is_reserved:
            with pytest.raises(WebError):
                check_address(address, allow_private=False)
