"""What every list has in common, whichever service it is of."""

from collections import defaultdict

import pytest

from mainspring.testing import Platform

HOOK = {"url": "https://hook.example/in", "types": ["users.*"]}
BY_IDS = (
    "/v1/jobs", "/v1/queues/default/dead", "/v1/webhooks", "/v1/users", "/v1/api_keys",
    "/v1/webhooks/{hook}/deliveries",
)  # fmt: skip


@pytest.mark.parametrize("cursor", ["nobody", "user_", "1", "job_01mcc5rm00e05rdmp9dsv0x0c!"])
async def test_a_list_by_ids_takes_no_cursor_but_its_own(
    platform_server: str | None, cursor: str
) -> None:
    async with Platform(database=platform_server) as platform:
        made = (await platform.admin.post("/v1/webhooks", HOOK)).expect(201)
        for path in BY_IDS:
            where = f"{path.format(hook=made['id'])}?cursor={cursor}"
            refused = (await platform.admin.get(where)).expect(422)
            assert [error["pointer"] for error in refused["errors"]] == ["/cursor"], path


async def test_an_empty_place_is_none_as_the_document_says(platform_server: str | None) -> None:
    """Whatever a list goes on from: its schema and its answer agree on the empty text."""
    async with Platform(database=platform_server) as platform:
        (await platform.admin.post("/v1/collections", {"name": "notes", "fields": []})).expect(201)
        document = (await platform.admin.get("/openapi.json")).expect(200)
        asked = 0
        names = defaultdict(lambda: "notes", name="default", queue="default")
        for path, operations in document["paths"].items():
            for parameter in operations.get("get", {}).get("parameters", ()):
                if parameter.get("name") not in ("cursor", "after"):
                    continue
                assert parameter["schema"]["minLength"] == 1, path
                where = path.format_map(names)
                answer = await platform.admin.get(f"{where}?{parameter['name']}=")
                assert answer.status in (422, 404), path
                asked += answer.status == 422
        assert asked >= 8
        job = (await platform.admin.post("/v1/jobs", {"name": ""})).expect(422)
        assert "length >= 1" in job["errors"][0]["detail"]
