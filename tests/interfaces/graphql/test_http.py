"""GraphQL over HTTP: what ``serverAudits`` of the npm package graphql-http asks of a server.

Written after its list, by the groups of it; what it says a server should do, this one must.
"""

import msgspec

from mainspring.testing import Platform
from mainspring.testing.client import HttpAnswer
from tests.interfaces.graphql.questions import RESPONSE

JSON = "application/json"
UTF8 = "; charset=utf-8"
TYPENAME = "%7B__typename%7D"
NAMED = "query Type($name: String!) { __type(name: $name) { name } }"
NOT_TEXT = [{"obj": "ect"}, 0, False, ["array"]]
NOT_OBJECT = ["text", 0, False, ["array"]]


async def test_requests_are_taken_and_answered_by_the_specification() -> None:
    async with Platform() as platform:
        client = platform.anonymous

        async def post(body: object, accept: str | None, **options: str) -> HttpAnswer:
            headers = {} if accept is None else {"Accept": accept}
            content = body if isinstance(body, bytes) else msgspec.json.encode(body)
            given = {"content_type": JSON, **options}
            return await client.request(
                "POST", "/graphql", content=content, headers=headers, **given
            )

        asked = {"query": "{ __typename }"}
        for accept, media_type in (
            (RESPONSE, RESPONSE), (JSON, JSON), ("*/*", JSON), (None, JSON),
            (f"{RESPONSE}; q=0.5, {JSON}", JSON), (f"{RESPONSE}, {JSON};q=0.9", RESPONSE),
        ):  # fmt: skip
            answer = await post(asked, accept)
            assert answer.headers["content-type"] == media_type + UTF8
            assert answer.expect(200)["data"] == {"__typename": "Query"}
            wanted = {} if accept is None else {"Accept": accept}
            got = await client.get(f"/graphql?query={TYPENAME}", headers=wanted)
            assert (got.expect(200)["data"], got.headers["content-type"]) == (
                {"__typename": "Query"}, media_type + UTF8,
            )  # fmt: skip
        (await post(asked, "text/html")).expect(406)
        (await post(asked, None, content_type=JSON + UTF8)).expect(200)
        for simple in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            (await post(asked, None, content_type=simple)).expect(415)
        (await post(asked, None, content_type=JSON + "; charset=latin1")).expect(415)
        for accept in (RESPONSE, JSON):
            for body in (b"", b"{", b"[]", b"null", b'"x"', {"notquery": "x"}, [asked]):
                wrong = await post(body, accept)
                assert wrong.status == 400, body
                assert "data" not in wrong.json, body
                assert wrong.json["errors"][0]["message"], body
            for value in NOT_TEXT:
                (await post({"query": value}, accept)).expect(400)
                (await post({**asked, "operationName": value}, accept)).expect(400)
            for value in NOT_OBJECT:
                (await post({**asked, "variables": value}, accept)).expect(400)
                (await post({**asked, "extensions": value}, accept)).expect(400)
            for name in ("operationName", "variables", "extensions"):
                (await post({**asked, name: None}, accept)).expect(200)
            (await post({**asked, "extensions": {"some": "value"}}, accept)).expect(200)
            named = {"query": NAMED, "variables": {"name": "Query"}, "operationName": "Type"}
            typed = (await post(named, accept)).expect(200)
            assert typed["data"] == {"__type": {"name": "Query"}}
            (await client.get("/graphql", headers={"Accept": accept})).expect(400)
        # What is wrong with a document is 400, or 200 for who knows plain JSON alone.
        refused = [
            {"query": "{"}, {"query": "{ nothing }"}, {"query": NAMED}, {"query": "fragment"},
            {"query": "query A { __typename } query B { __typename }"},
            {"query": NAMED, "variables": {"name": None}}, {**asked, "operationName": "Other"},
            {"query": NAMED, "variables": {"name": {}}},
        ]  # fmt: skip
        for accept, status in ((RESPONSE, 400), (JSON, 200)):
            for body in refused:
                wrong = await post(body, accept)
                assert (wrong.status, "data" in wrong.json) == (status, False), body
                assert wrong.json["errors"][0]["extensions"]["code"] == "graphql_refused"


async def test_nothing_is_written_over_get() -> None:
    async with Platform() as platform:
        body = "%7Bemail:%22a%22,password:%22b%22%7D"
        written = f"mutation%7Busers_create_session(body:{body})%7B__typename%7D%7D"
        for query in ("mutation%7B__typename%7D", written):
            answer = await platform.admin.get(f"/graphql?query={query}")
            assert (answer.status, answer.headers.get("allow")) == (405, "POST")
        variables = "%7B%22name%22%3A%22Query%22%7D"
        named = NAMED.replace(" ", "%20").replace("{", "%7B").replace("}", "%7D")
        got = await platform.anonymous.get(f"/graphql?query={named}&variables={variables}")
        assert got.expect(200)["data"] == {"__type": {"name": "Query"}}
        for name in ("variables", "extensions"):
            for value in ("x", "1", "[]"):
                path = f"/graphql?query={TYPENAME}&{name}={value}"
                (await platform.anonymous.get(path)).expect(400)
