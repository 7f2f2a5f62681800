"""What an endpoint's owner is not told of the network that deliveries start from."""

import pytest

from mainspring.ports.http_client import HttpClient, WebAnswer, WebError
from mainspring.testing import Outgoing, Platform
from mainspring.testing.clock import FakeClock


class Slow(Outgoing):
    """Takes a second and a half to fail."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.code = code

    async def post(self, *args: object, **named: object) -> WebAnswer:
        self.clock.move(1.5)
        raise WebError(self.code, "no")


@pytest.mark.parametrize(("code", "shown_ms"), [("name_not_resolved", 0), ("timed_out", 1500)])
async def test_how_long_a_look_up_took_is_not_shown(code: str, shown_ms: int) -> None:
    web = Slow(code)
    async with Platform(ports={HttpClient: web}) as platform:
        web.clock = platform.clock
        hook = {"url": "https://db.corp.example/in", "types": ["jobs.*"]}
        made = (await platform.admin.post("/v1/webhooks", hook)).expect(201)
        (await platform.admin.post("/v1/queues/bulk:pause", {})).expect(200)
        await platform.drain()
        path = f"/v1/webhooks/{made['id']}/deliveries"
        (delivery,) = (await platform.admin.get(path)).expect(200)["items"]
    assert [(a["error"], a["duration_ms"]) for a in delivery["attempts"]] == [(code, shown_ms)]
