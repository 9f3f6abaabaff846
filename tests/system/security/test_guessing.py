"""Guessing passwords: how often, from where, and what the answers and their cost tell."""

from __future__ import annotations

from typing import Any

import asyncpg
import httpx
import pytest

from tests.system.web_app.conftest import NewWeb, Web
from tests.system.web_app.people import PASSWORD, Person, join, log_in, ok, refused, sign_up


def from_address(web: Web, address: str) -> httpx.AsyncClient:
    """A client at this address."""
    transport = httpx.ASGITransport(web.app, raise_app_exceptions=False, client=(address, 40_000))
    return httpx.AsyncClient(transport=transport, base_url="http://web")


async def guess(web: Web, person: Person, address: str, **changes: str) -> httpx.Response:
    body = {"workspace_slug": person.workspace_slug, "email": person.email, "password": "wrong"}
    async with from_address(web, address) as http:
        return await http.post("/v1/auth/login", json=body | changes)


async def test_an_account_has_a_limit_for_each_address_and_its_owner_elsewhere_goes_on(
    new_web: NewWeb,
) -> None:
    web = await new_web(web_login_limit="3/minute")
    owner = await sign_up(web.http)
    spelt = (owner.email, owner.email.upper(), owner.email.title())
    for email in spelt:
        refused(await guess(web, owner, "192.0.2.1", email=email), "invalid_credentials")
    # Another spelling or another header is not another account or another address.
    refused(await guess(web, owner, "192.0.2.1", email=owner.email.swapcase()), "slow_down")
    async with from_address(web, "192.0.2.1") as http:
        http.headers["x-forwarded-for"] = "192.0.2.77"
        body = {"workspace_slug": owner.workspace_slug, "email": owner.email, "password": PASSWORD}
        refused(await http.post("/v1/auth/login", json=body), "slow_down")
    ok(await guess(web, owner, "192.0.2.2", password=PASSWORD))


async def test_an_address_has_a_limit_over_all_accounts(new_web: NewWeb) -> None:
    web = await new_web(web_address_limit="5/minute")
    people = [await sign_up(web.http) for _ in range(4)]
    for number in range(5):
        refused(await guess(web, people[number % 4], "192.0.2.1"), "invalid_credentials")
    refused(await guess(web, people[0], "192.0.2.1"), "slow_down")
    refused(await guess(web, people[0], "192.0.2.1", workspace_slug="nowhere"), "slow_down")
    refused(await guess(web, people[0], "192.0.2.2"), "invalid_credentials")


async def test_many_addresses_together_have_a_limit_for_an_account_and_right_passwords_do_not_count(
    new_web: NewWeb,
) -> None:
    web = await new_web(web_failure_limit="4/minute")
    owner, other = await sign_up(web.http), await sign_up(web.http)
    for number in range(6):
        ok(await guess(web, owner, f"192.0.2.{number}", password=PASSWORD))
    for number in range(4):
        refused(await guess(web, owner, f"198.51.100.{number}"), "invalid_credentials")
    for password in ("wrong", PASSWORD):
        problem = refused(await guess(web, owner, "203.0.113.1", password=password), "slow_down")
        assert 0 < problem["retry_after_ms"] <= 61_000
    ok(await owner.get("/v1/me"))
    ok(await web.http.post("/v1/auth/refresh", json={"refresh_token": owner.tokens["refresh_token"]}))
    await log_in(other)


async def test_the_limits_tell_nobody_who_has_an_account(new_web: NewWeb) -> None:
    web = await new_web(web_failure_limit="2/minute")
    owner = await sign_up(web.http)
    for email in (owner.email, "nobody@example.com"):
        answers = [await guess(web, owner, f"192.0.2.{number}", email=email) for number in range(3)]
        assert [each.json()["code"] for each in answers] == ["invalid_credentials"] * 2 + ["slow_down"]


@pytest.mark.parametrize(
    ("addresses", "one"),
    [
        (("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"), True),
        (("2001:db8:1:2::1", "2001:db8:1:3::1"), False),
        (("::ffff:192.0.2.1", "192.0.2.1"), True),
        (("::ffff:192.0.2.1", "::ffff:192.0.2.2"), False),
    ],
)
async def test_what_one_customer_of_a_network_has_is_one_address(
    new_web: NewWeb, addresses: tuple[str, str], one: bool
) -> None:
    web = await new_web(web_address_limit="1/minute")
    owner = await sign_up(web.http)
    refused(await guess(web, owner, addresses[0]), "invalid_credentials")
    refused(await guess(web, owner, addresses[1]), "slow_down" if one else "invalid_credentials")


async def test_everything_with_a_password_or_a_token_to_guess_counts(new_web: NewWeb) -> None:
    web = await new_web(web_address_limit="2/minute", web_login_limit="2/minute")
    owner = await sign_up(web.http)
    body = {"token": "x" * 43, "name": "N", "password": PASSWORD}
    async with from_address(web, "192.0.2.9") as http:
        for code in ("not_found", "not_found", "slow_down"):
            refused(await http.post("/v1/invites/accept", json=body), code)
    change = {"current_password": "wrong", "new_password": "another password"}
    async with from_address(web, "192.0.2.10") as http:
        for code in ("invalid_credentials", "invalid_credentials", "slow_down"):
            refused(await http.post("/v1/auth/password", json=change, headers=owner.headers), code)


async def test_whoever_is_meant_one_hash_is_worked_out(
    web: Web, sql: asyncpg.Connection, monkeypatch: Any
) -> None:
    """Counted, through the whole log-in: time must not tell which accounts there are."""
    owner = await sign_up(web.http)
    gone = await join(owner)
    ok(await owner.post(f"/v1/users/{gone.id}/deactivate"))
    await guess(web, owner, "192.0.2.1", email="first@example.com")  # makes the hash of nobody, once
    worked: list[str] = []
    hasher = type(web.parts.passwords._hasher)
    original = hasher.verify

    def counted(self: Any, stored: str, password: str) -> bool:
        worked.append(stored)
        return original(self, stored, password)

    monkeypatch.setattr(hasher, "verify", counted)
    answers = {}
    for name, person, changes in (
        ("wrong password", owner, {}),
        ("nobody", owner, {"email": "nobody@example.com"}),
        ("no e-mail address", owner, {"email": "nobody"}),
        ("no workspace", owner, {"workspace_slug": "nowhere"}),
        ("no such name", owner, {"workspace_slug": "No Slug!"}),
        ("deactivated", gone, {}),
        ("deactivated, right password", gone, {"password": PASSWORD}),
        ("very long", owner, {"password": "x" * 200}),
    ):
        worked.clear()
        answer = await guess(web, person, "192.0.2.1", **changes)
        assert len(worked) == 1, name
        assert worked[0].startswith("$argon2id$"), name
        assert len({each.split("$")[3] for each in worked}) == 1
        problem = refused(answer, "invalid_credentials")
        problem.pop("request_id")
        answers[name] = (
            problem,
            sorted(set(answer.headers) - {"x-request-id"}),
            answer.headers["content-length"],
        )
    assert len({repr(each) for each in answers.values()}) == 1, "the answers differ"
