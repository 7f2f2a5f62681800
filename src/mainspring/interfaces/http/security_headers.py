"""Headers that keep browsers and caches from doing more with an answer than they should."""

Headers = tuple[tuple[bytes, bytes], ...]

# An API answer is never a page: nothing in it may load, run or be framed.
API: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
# The reference page loads its own style and script, and asks its own origin.
PAGE: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        b"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
)
NO_STORE = (b"cache-control", b"no-store")
REVALIDATE = (b"cache-control", b"private, no-cache")


def hsts(max_age_s: int, *, subdomains: bool = False) -> Headers:
    """``Strict-Transport-Security`` (RFC 6797) for answers that go over TLS; 0 sends none.

    Other hosts below this one may not speak TLS, so they are named only when somebody says so.
    """
    if max_age_s == 0:
        return ()
    value = b"max-age=%d" % max_age_s + (b"; includeSubDomains" if subdomains else b"")
    return ((b"strict-transport-security", value),)
