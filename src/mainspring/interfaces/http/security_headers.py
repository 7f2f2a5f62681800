"""Headers that keep browsers and caches from doing more with an answer than they should."""

from mainspring.kernel.policy import CachePolicy

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


def cache_control(policy: CachePolicy) -> str:
    """``Cache-Control`` of a policy (RFC 9111, RFC 5861)."""
    whose = "public" if policy.public else "private"
    stale_s = policy.stale_while_revalidate_s
    if not policy.max_age_s and not stale_s:
        return f"{whose}, no-cache"
    stale = f", stale-while-revalidate={stale_s}" if stale_s else ""
    return f"{whose}, max-age={policy.max_age_s}{stale}"


def kept(policy: CachePolicy) -> Headers:
    """Say who may keep an answer, and what it depends on beside its address.

    A browser that two people use one after the other shows neither what the other was answered.
    """
    mixes = not policy.public and cache_control(policy) != "private, no-cache"
    vary = b"Accept-Encoding, Authorization" if mixes else b"Accept-Encoding"
    return ((b"cache-control", cache_control(policy).encode()), (b"vary", vary))


REVALIDATE = kept(CachePolicy())


def hsts(max_age_s: int, *, subdomains: bool = False) -> Headers:
    """``Strict-Transport-Security`` (RFC 6797) for answers that go over TLS; 0 sends none.

    Other hosts below this one may not speak TLS, so they are named only when somebody says so.
    """
    if max_age_s == 0:
        return ()
    value = b"max-age=%d" % max_age_s + (b"; includeSubDomains" if subdomains else b"")
    return ((b"strict-transport-security", value),)
