"""How often one network may ask to join."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from bridge.api.admission import FAILURE_COST, JOIN, Admission
from bridge.api.problems import answering_problems
from bridge.base.counters import SessionCounters
from bridge.base.errors import Refused


class Door:
    """A handler behind an Admission of ten a minute."""

    def __init__(self, per_minute: int = 10) -> None:
        self.now = 0.0
        self.counters = SessionCounters()
        self.refusal: Refused | None = None
        admission = Admission(per_minute, counters=self.counters, clock=lambda: self.now)
        self._handler = answering_problems(admission.limiting(self._open, endpoint=JOIN), request="join")

    async def _open(self, request: web.Request) -> web.Response:
        if self.refusal is not None:
            raise self.refusal
        return web.Response()

    async def ask(self, host: str) -> web.StreamResponse:
        return await self._handler(make_mocked_request("POST", "/api/join").clone(remote=host))

    async def statuses(self, host: str, count: int) -> list[int]:
        return [(await self.ask(host)).status for _ in range(count)]


async def test_beyond_the_limit_a_network_is_told_to_wait_and_others_are_not() -> None:
    door = Door()
    assert await door.statuses("192.0.2.1", 10) == [200] * 10
    response = await door.ask("192.0.2.1")
    assert (response.status, response.headers["Retry-After"]) == (429, "5")
    assert isinstance(response, web.Response)
    assert response.text is not None
    assert '"rate-limited"' in response.text
    assert door.counters.joins_refused == {"rate-limited": 1}
    assert await door.statuses("192.0.2.2", 1) == [200]
    door.now = 6.1
    assert await door.statuses("192.0.2.1", 2) == [200, 429]


@pytest.mark.parametrize("code", ["invalid-token", "expired-token"])
async def test_bad_tokens_count_several_times(code: str) -> None:
    door = Door()
    door.refusal = Refused(code, "no")
    assert await door.statuses("2001:db8::1", 2) == [401, 401]
    assert 2 * (1 + FAILURE_COST) == 10
    assert await door.statuses("2001:db8::2", 1) == [429]


async def test_a_company_may_ask_from_many_networks_but_not_from_each_anew() -> None:
    door = Door()
    asked = [(await door.ask(f"2001:db8:0:{subnet:x}00::1")).status for subnet in range(50)]
    assert asked == [200] * 40 + [429] * 10
    assert (await door.ask("2001:db8:1::1")).status == 200


async def test_refused_devices_are_counted_under_their_endpoint() -> None:
    door = Door()
    admission = Admission(2, counters=door.counters, clock=lambda: door.now)
    handler = answering_problems(admission.limiting(door._open, endpoint="whip"), request="whip")
    for code in ("negotiation-failed:no-codec", "room-full", "any"):
        door.refusal = Refused(code, "no")
        await handler(make_mocked_request("POST", "/whip").clone(remote="192.0.2.1"))
    assert door.counters.devices_refused == {
        ("whip", "negotiation-failed"): 1,
        ("whip", "room-full"): 1,
        ("whip", "rate-limited"): 1,
    }
    assert door.counters.joins_refused == {}


async def test_who_may_not_open_the_library_has_not_tried_to_join() -> None:
    door = Door()
    admission = Admission(2, counters=door.counters, clock=lambda: door.now)
    handler = answering_problems(admission.limiting(door._open), request="archive")
    door.refusal = Refused("not-permitted", "no")
    request = make_mocked_request("POST", "/api/archive/session").clone(remote="192.0.2.1")
    assert [(await handler(request)).status for _ in range(3)] == [403, 403, 429]
    assert door.counters.joins_refused == door.counters.devices_refused == {}


async def test_refused_joins_are_counted_once_each() -> None:
    door = Door()
    door.refusal = Refused("expired-token", "no")
    assert await door.statuses("192.0.2.1", 3) == [401, 401, 429]
    assert door.counters.joins_refused == {"expired-token": 2, "rate-limited": 1}


async def test_bad_links_are_logged_once_per_network_and_minute(caplog: pytest.LogCaptureFixture) -> None:
    door = Door(per_minute=0)
    door.refusal = Refused("invalid-token", "no")
    for _ in range(9):
        await door.ask("203.0.113.77")
        await door.ask("198.51.100.7")
    assert [record.getMessage() for record in caplog.records] == [
        "links or keys from 203.0.113.0/24 are refused: invalid-token",
        "links or keys from 198.51.100.0/24 are refused: invalid-token",
    ]
    door.now = 61.0
    await door.ask("203.0.113.77")
    assert len(caplog.records) == 3


async def test_other_refusals_count_once() -> None:
    door = Door()
    door.refusal = Refused("room-full", "no")
    assert await door.statuses("192.0.2.1", 11) == [503] * 10 + [429]


async def test_this_machine_is_never_limited_and_zero_means_nobody_is() -> None:
    assert set(await Door().statuses("127.0.0.1", 50)) == {200}
    assert set(await Door(0).statuses("192.0.2.1", 50)) == {200}
