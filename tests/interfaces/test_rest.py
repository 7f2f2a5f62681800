"""The way of a request over a real server: answers, failures, headers."""

import gzip

import msgspec

from tests.interfaces.conftest import READER, Site, Start


async def test_a_note_is_written_read_changed_and_deleted(site: Site) -> None:
    answer, note = await site.ask("POST", "/v1/notes", {"title": "Hello"})
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v1/notes/{note['id']}"
    assert answer.headers["ETag"] == '"1"'
    assert answer.headers["Request-Id"].startswith("req_")

    answer, read = await site.ask("GET", f"/v1/notes/{note['id']}")
    assert (answer.status, read) == (200, note)
    answer, _ = await site.ask("GET", f"/v1/notes/{note['id']}", If_None_Match='"1"')
    assert (answer.status, answer.headers["ETag"]) == (304, '"1"')

    answer, problem = await site.ask("PATCH", f"/v1/notes/{note['id']}", {"title": "x"},
                                     If_Match='"7"')  # fmt: skip
    assert (answer.status, problem["code"]) == (412, "precondition_failed")
    answer, changed = await site.ask("PATCH", f"/v1/notes/{note['id']}", {"title": "Bye"},
                                     If_Match='"1"')  # fmt: skip
    assert (answer.status, changed["title"]) == (200, "Bye")

    answer, shouted = await site.ask("POST", f"/v1/notes/{note['id']}:shout")
    assert shouted["title"] == "BYE"

    answer, body = await site.ask("DELETE", f"/v1/notes/{note['id']}")
    assert (answer.status, body) == (204, b"")
    answer, problem = await site.ask("GET", f"/v1/notes/{note['id']}")
    assert answer.status == 404
    assert problem == {
        "type": "/docs#error-not_found",
        "title": "Not found",
        "status": 404,
        "detail": "Not found",
        "instance": f"/v1/notes/{note['id']}",
        "code": "not_found",
        "request_id": answer.headers["Request-Id"],
    }


async def test_every_kind_of_refusal_has_its_status(site: Site) -> None:
    note = {"title": "x"}
    cases = [
        (await site.ask("GET", "/v1/nowhere"), 404, "not_found"),
        (await site.ask("GET", "/v1/notes/"), 404, "not_found"),
        (await site.ask("GET", "/v1/notes/%ff"), 404, "not_found"),
        (await site.ask("PUT", "/v1/notes", note), 405, "method_not_allowed"),
        (await site.ask("TRACE", "/v1/notes"), 405, "method_not_allowed"),
        (await site.ask("POST", "/v1/notes", b"{"), 400, "malformed"),
        (await site.ask("POST", "/v1/notes", {"title": "x", "y": 1}), 422, "invalid"),
        (await site.ask("POST", "/v1/notes", b"x=1", Content_Type="text/plain"), 415, None),
        (await site.ask("POST", "/v1/notes", b"x", Content_Encoding="gzip"), 415, None),
        (await site.ask("POST", "/v1/notes", b"x" * (1 << 20) + b"x"), 413, "body_too_large"),
        (await site.ask("GET", "/v1/notes?limit=0"), 422, "invalid"),
        (await site.ask("GET", "/v1/notes?x=1"), 422, "invalid"),
        (await site.ask("POST", "/v1/notes", note, Authorization="Bearer no"), 401, None),
        (await site.ask("POST", "/v1/notes", note, Authorization="Basic x"), 401, None),
        (await site.ask("POST", "/v1/notes", note, **READER), 403, "forbidden"),
        (await site.ask("POST", "/v1/forbidden"), 403, "forbidden"),
        (await site.ask("POST", "/v1/anything", b"[" * 50_000), 400, "malformed"),
    ]
    for (answer, problem), status, code in cases:
        assert answer.status == status, problem
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert problem["status"] == status
        assert code in {None, problem["code"]}
        assert problem["request_id"] == answer.headers["Request-Id"]
        assert problem["instance"] == answer.url.raw_path
        assert answer.headers["Cache-Control"] == "no-store"
    assert await site.count() == 0


async def test_401_and_405_and_403_say_what_would_do(site: Site) -> None:
    anonymous = await site.http.get("/v1/notes")
    assert anonymous.status == 401
    assert anonymous.headers["WWW-Authenticate"] == 'Bearer realm="mainspring"'
    bad, _ = await site.ask("GET", "/v1/notes", Authorization="Bearer no")
    assert 'error="invalid_token"' in bad.headers["WWW-Authenticate"]
    refused, _ = await site.ask("POST", "/v1/notes", {"title": "x"}, **READER)
    assert 'scope="notes:write"' in refused.headers["WWW-Authenticate"]
    for method in ("PUT", "OPTIONS"):
        answer, _ = await site.ask(method, "/v1/notes")
        assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert answer.status == 204


async def test_a_defect_tells_only_its_request_id(site: Site) -> None:
    answer, problem = await site.ask("POST", "/v1/broken")
    assert answer.status == 500
    assert problem["request_id"] == answer.headers["Request-Id"]
    assert "secret" not in str(problem)
    assert "Zero" not in str(problem)


async def test_head_is_get_without_its_body(site: Site) -> None:
    whole, _ = await site.ask("GET", "/v1/public")
    answer, body = await site.ask("HEAD", "/v1/public")
    assert (answer.status, body) == (200, b"")
    for name in ("Content-Length", "ETag", "Content-Type", "Cache-Control"):
        assert answer.headers[name] == whole.headers[name]


async def test_a_body_without_a_tag_of_its_own_gets_one(site: Site) -> None:
    answer, _ = await site.ask("GET", "/v1/notes")
    again, body = await site.ask("GET", "/v1/notes", If_None_Match=answer.headers["ETag"])
    assert (again.status, body) == (304, b"")
    assert again.headers["ETag"] == answer.headers["ETag"]
    assert again.headers["Cache-Control"] == answer.headers["Cache-Control"] == "private, no-cache"
    assert again.headers["Vary"] == answer.headers["Vary"] == "Accept-Encoding"
    await site.ask("POST", "/v1/notes", {"title": "x"})
    changed, _ = await site.ask("GET", "/v1/notes", If_None_Match=answer.headers["ETag"])
    assert changed.status == 200


async def test_large_answers_are_compressed_with_a_tag_of_their_own(site: Site) -> None:
    for _ in range(20):
        await site.ask("POST", "/v1/notes", {"title": "again " * 30})
    plain, body = await site.ask("GET", "/v1/notes", Accept_Encoding="identity")
    packed, raw = await site.ask("GET", "/v1/notes", Accept_Encoding="br, gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert msgspec.json.decode(gzip.decompress(raw)) == body
    tag = packed.headers["ETag"]
    assert tag == plain.headers["ETag"][:-1] + '-gzip"'
    for sent in (tag, plain.headers["ETag"]):
        answer, _ = await site.ask("GET", "/v1/notes", Accept_Encoding="gzip", If_None_Match=sent)
        assert (answer.status, answer.headers["ETag"]) == (304, tag)
    small, _ = await site.ask("GET", "/v1/public", Accept_Encoding="gzip")
    assert "Content-Encoding" not in small.headers


async def test_a_trace_is_continued(site: Site) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    answer, _ = await site.ask("POST", "/v1/notes", {"title": "x"}, traceparent=parent)
    version, trace, span, flags = answer.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", "4bf92f3577b34da6a3ce929d0e0e4736", "01")
    assert len(span) == 16
    assert span != "00f067aa0ba902b7"
    (created,) = await site.platform.events("notes.note.created")
    assert created.correlationid == trace
    for broken in ("", "00-0-0-0", parent.replace("4", "g"), "00-" + "0" * 32 + parent[35:]):
        answer, _ = await site.ask("GET", "/v1/public", traceparent=broken)
        assert "traceparent" not in answer.headers


async def test_limits_are_told_and_held(start: Start) -> None:
    site = await start(limits={"default": "5/m", "anonymous": "3/m", "login": "2/m"})
    first, _ = await site.ask("GET", "/v1/public")
    assert first.headers["RateLimit-Policy"] == '"default";q=5;w=60'
    assert first.headers["RateLimit"] == '"default";r=4;t=12'
    for _ in range(4):
        await site.ask("GET", "/v1/public")
    answer, problem = await site.ask("GET", "/v1/public")
    assert (answer.status, problem["code"], problem["policy"]) == (429, "rate_limited", "default")
    assert 1 <= int(answer.headers["Retry-After"]) <= 12
    assert answer.headers["RateLimit"].startswith('"default";r=0;t=')

    async def anonymous(method: str, path: str) -> int:
        data = b'{"title":"x"}' if method == "POST" else None
        headers = {"Content-Type": "application/json"}
        answer = await site.http.request(
            method, path, data=data, headers=headers, allow_redirects=False
        )
        return answer.status

    # A credential that does not hold counts against the address; one that does, does not.
    for status in (401, 401, 401, 429):
        answer, _ = await site.ask("GET", "/v1/public", Authorization="Bearer guess")
        assert answer.status == status
    asked = site.keys.asked
    assert (await site.ask("GET", "/v1/public", Authorization="Bearer guess"))[0].status == 429
    assert site.keys.asked == asked
    assert await anonymous("GET", "/v1/public") == 429
    assert [await anonymous("POST", "/v1/login") for _ in range(3)] == [200, 200, 429]
    assert [await anonymous("GET", "/l/x") for _ in range(9)] == [302] * 9
    redirect = await site.http.get("/l/x", allow_redirects=False)
    assert "RateLimit" not in redirect.headers
    assert redirect.headers["Location"] == "https://example.org/x"


async def test_a_stale_token_does_not_keep_anyone_from_logging_in(site: Site) -> None:
    answer, body = await site.ask("POST", "/v1/login", {"title": "x"}, Authorization="Bearer old")
    assert (answer.status, body) == (200, {"hello": "anonymous"})


async def test_credentials_are_looked_up_once_and_revoked_before_the_answer(site: Site) -> None:
    for _ in range(5):
        await site.ask("GET", "/v1/public")
    assert site.keys.asked == 1
    site.keys.revoked.add("key_writer")
    answer, _ = await site.ask("POST", "/v1/keys/key_writer:revoke")
    assert answer.status == 204
    answer, _ = await site.ask("GET", "/v1/public")
    assert answer.status == 401


async def test_past_its_time_limit_a_call_has_done_nothing(site: Site) -> None:
    answer, problem = await site.ask("POST", "/v1/slow", {"title": "x"})
    assert (answer.status, problem["code"]) == (504, "deadline_exceeded")
    assert await site.count() == 0


async def test_cross_origin_reads_need_a_listed_origin(start: Start) -> None:
    site = await start(cors={"origins": ("https://app.example",)})
    answer, _ = await site.ask("GET", "/v1/public", Origin="https://app.example")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Origin" in answer.headers.getall("Vary")
    assert "request-id" in answer.headers["Access-Control-Expose-Headers"]
    failed, _ = await site.ask("GET", "/v1/nowhere", Origin="https://app.example")
    assert failed.headers["Access-Control-Allow-Origin"] == "https://app.example"
    other, _ = await site.ask("GET", "/v1/public", Origin="https://evil.example")
    assert "Access-Control-Allow-Origin" not in other.headers
    preflight = await site.http.options(
        "/v1/notes",
        headers={"Origin": "https://app.example", "Access-Control-Request-Method": "POST"},
    )
    assert preflight.status == 204
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Access-Control-Allow-Credentials" not in preflight.headers


async def test_a_proxy_that_is_trusted_says_who_calls_and_how(start: Start) -> None:
    site = await start(server={"trusted_proxies": ("127.0.0.0/8",)}, limits={"anonymous": "1/m"})
    statuses = []
    for address in ("198.51.100.1", "198.51.100.2", "198.51.100.1", "9.9.9.9, 198.51.100.1"):
        answer = await site.http.get(
            "/v1/public", headers={"X-Forwarded-For": address, "X-Forwarded-Proto": "https"}
        )
        statuses.append(answer.status)
        assert "max-age" in answer.headers["Strict-Transport-Security"]
    assert statuses == [200, 200, 429, 429]


async def test_answers_carry_what_keeps_browsers_safe(site: Site) -> None:
    answer, _ = await site.ask("GET", "/v1/public")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "Strict-Transport-Security" not in answer.headers
    assert "Server" not in answer.headers
    assert "Date" in answer.headers
    created, _ = await site.ask("POST", "/v1/notes", {"title": "x"})
    assert created.headers["Cache-Control"] == "no-store"


async def test_requests_are_counted_by_route(site: Site) -> None:
    _, note = await site.ask("POST", "/v1/notes", {"title": "x"})
    await site.ask("GET", f"/v1/notes/{note['id']}")
    await site.ask("GET", "/nowhere/at/all")
    _, text = await site.ask("GET", "/metrics")
    assert b'http_route="/v1/notes/{id}"' in text
    assert note["id"].encode() not in text
    assert b"nowhere" not in text


async def test_metrics_are_for_the_machine_itself_or_take_a_scope(site: Site) -> None:
    near, _ = await site.ask("GET", "/metrics")
    proxied, _ = await site.ask("GET", "/metrics", X_Forwarded_For="203.0.113.9")
    assert (near.status, proxied.status) == (200, 403)
