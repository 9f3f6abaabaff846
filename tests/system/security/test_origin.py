"""A browser that somebody else's page runs in gets no WebSocket."""

from __future__ import annotations

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.stack.lockstep import Stack
from tests.system.security.conftest import GOOD_ORIGIN
from tests.system.security.visitors import opened


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://chat.example",
        "https://chat.example.evil.example",
        "https://chat.example:444",
        "https://evil.example/https://chat.example",
        "https://chat.example@evil.example",
        "",
    ],
)
async def test_a_foreign_page_is_refused(fortress: Stack, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await opened(fortress, additional_headers={"Origin": origin})
    assert refused.value.response.status_code == 403


async def test_two_origins_are_refused_when_one_is_foreign(fortress: Stack) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await opened(
            fortress, additional_headers=[("Origin", GOOD_ORIGIN), ("Origin", "https://evil.example")]
        )
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("headers", [{}, {"Origin": GOOD_ORIGIN}, {"Origin": GOOD_ORIGIN.lower()}])
async def test_our_page_and_programs_come_in(fortress: Stack, headers: dict[str, str]) -> None:
    client = await opened(fortress, additional_headers=headers)
    await client.close()


async def test_rest_invites_no_page_of_others(fortress: Stack) -> None:
    """Tokens travel in a header, never in a cookie, and no other page may read an answer (no CORS)."""
    async with httpx.AsyncClient(base_url=fortress.web_url, timeout=30, trust_env=False) as http:
        for method in ("GET", "OPTIONS", "POST"):
            asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
            answer = await http.request(method, "/v1/auth/login", headers=asked)
            assert not [name for name in answer.headers if name.startswith("access-control-")]
            assert "set-cookie" not in answer.headers
