"""The way of a request over a real server: answers, failures, headers."""

from tests.interfaces.conftest import Site


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
