"""What every list has in common, whichever service it is of."""

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
