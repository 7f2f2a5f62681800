"""What shapes an answer: tags, compression, cross-origin headers, authorisation."""

import gzip as reference

import pytest

from mainspring.interfaces.http.compression import accepts_gzip, compressible, gzip
from mainspring.interfaces.http.conditional import not_modified, with_suffix
from mainspring.interfaces.http.cors import Cors
from mainspring.interfaces.http.security_headers import hsts
from mainspring.interfaces.http.server_settings import CorsSettings, ServerSettings
from mainspring.kernel.authority import authorise
from mainspring.kernel.call import ANONYMOUS, Caller
from mainspring.kernel.errors import Forbidden, Unauthenticated
from mainspring.kernel.etag import tag_of


def test_a_tag_changes_with_the_body() -> None:
    assert tag_of(b"a") == tag_of(b"a") != tag_of(b"b")
    assert with_suffix('"7"', "gzip") == '"7-gzip"'


@pytest.mark.parametrize(
    ("header", "same"),
    [('"7"', True), ('W/"7"', True), ('"6", "7"', True), ("*", True), ('"7-gzip"', True),
     ('"8"', False), ("", False), ("7", False)],
)  # fmt: skip
def test_if_none_match_compares_weakly(header: str, same: bool) -> None:
    assert not_modified(header, '"7"') is same


@pytest.mark.parametrize(
    ("header", "takes"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("", False),
     ("br", False), ("*;q=0", False), ("identity", False), ("GZIP", True), ("gzip;q=0, *", False),
     ("gzip;q=x", False)],
)  # fmt: skip
def test_gzip_is_sent_to_those_who_take_it(header: str, takes: bool) -> None:
    assert accepts_gzip(header) is takes


def test_gzip_is_gzip() -> None:
    body = b'{"title": "again and again"}' * 100
    assert reference.decompress(gzip(body)) == body
    assert len(gzip(body)) < len(body) / 5
    assert compressible("application/json")
    assert compressible("text/html; charset=utf-8")
    assert not compressible("image/png")


def test_only_listed_origins_may_read() -> None:
    cors = Cors(CorsSettings(origins=("https://app.example",)))
    allowed = dict(cors.headers(b"https://app.example"))
    assert allowed[b"access-control-allow-origin"] == b"https://app.example"
    assert allowed[b"vary"] == b"Origin"
    for origin in (b"https://app.example.evil", b"https://app.exampl", b"null", None):
        assert b"access-control-allow-origin" not in dict(cors.headers(origin))
    preflight = dict(cors.preflight(b"https://app.example", b"GET, POST"))
    assert preflight[b"access-control-allow-methods"] == b"GET, POST"
    assert b"authorization" in preflight[b"access-control-allow-headers"]
    everything = [cors.headers(b"https://app.example"), cors.preflight(b"https://app.example", b"")]
    assert all(b"credentials" not in name for headers in everything for name, _ in headers)


def test_any_origin_is_a_star_and_none_is_silence() -> None:
    assert dict(Cors(CorsSettings(origins=("*",))).headers(b"https://x.example"))[
        b"access-control-allow-origin"
    ] == b"*"  # fmt: skip
    assert Cors(CorsSettings()).headers(b"https://x.example") == ()


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/", "ftp://x", "null"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        CorsSettings(origins=(origin,))


@pytest.mark.parametrize(
    "origin",
    ["https://*", "https://*.", "https://*.*.example", "https://a.*.example", "https://*example",
     "https://App.example", "https://app.example:443", "http://app.example:80", "https://a b",
     "https://u@app.example", "https://app.example?x", "*.example", "https://app..example", ""],
)  # fmt: skip
def test_what_no_browser_sends_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(ValueError, match=r"is not an origin|browsers leave out"):
        CorsSettings(origins=(origin,))


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (b"https://a.example.com", True), (b"https://a.b.example.com", True),
        (b"https://A.Example.com", True), (b"https://example.com", False),
        (b"https://evilexample.com", False), (b"http://a.example.com", False),
        (b"https://a.example.com:8443", False), (b"https://.example.com", False),
        (b"https://evil.com/.example.com", False), (b"https://evil.com#.example.com", False),
        (b"https://u@.example.com", False), (b"http://b.local:3000", True),
        (b"http://b.local:3001", False), (b"http://[::1]:5173", True), (b"null", False),
        (b"https://a\xe9.example.com", False), (b"", False),
    ],
)  # fmt: skip
def test_a_star_stands_for_one_label_or_more(origin: bytes, allowed: bool) -> None:
    patterns = ("https://*.example.com", "http://*.local:3000", "http://[::1]:5173")
    cors = Cors(CorsSettings(origins=patterns))
    assert (b"access-control-allow-origin" in dict(cors.headers(origin))) is allowed
    assert cors.refuses(origin) is not allowed


def test_names_of_headers_are_names() -> None:
    CorsSettings(headers=("X-Mine",), exposed_headers=("X-Yours",))
    for name in ("X Mine", "", "X:", "X\r\nY"):
        with pytest.raises(ValueError, match="is not the name of a header"):
            CorsSettings(headers=(name,))


@pytest.mark.parametrize(
    "host", ["Example.org", "example.org:80", "*", "*.", "https://x", "a b", "", "a.*.b", "::1"]
)
def test_what_is_no_host_is_refused_at_the_start(host: str) -> None:
    with pytest.raises(ValueError, match="is not a host name"):
        ServerSettings(hosts=(host,))


def test_a_proxy_is_a_network() -> None:
    ServerSettings(trusted_proxies=("10.0.0.1", "fd00::/8"))
    with pytest.raises(ValueError, match="does not appear"):
        ServerSettings(trusted_proxies=("proxy.example",))


def test_hsts_can_be_off() -> None:
    assert hsts(0) == ()
    assert hsts(60)[0][1] == b"max-age=60"
    assert hsts(60, subdomains=True)[0][1] == b"max-age=60; includeSubDomains"


def test_a_scope_lets_pass() -> None:
    authorise(None, ANONYMOUS)
    for scopes in ({"notes:read"}, {"notes:*"}, {"*"}):
        authorise("notes:read", Caller("key", "k", scopes=frozenset(scopes)))
    with pytest.raises(Unauthenticated) as unknown:
        authorise("notes:read", ANONYMOUS)
    assert unknown.value.headers["WWW-Authenticate"] == 'Bearer realm="mainspring"'
    with pytest.raises(Forbidden) as known:
        authorise("notes:read", Caller("key", "k", scopes=frozenset({"notes:write", "note:*"})))
    assert 'scope="notes:read"' in known.value.headers["WWW-Authenticate"]
