"""Passwords and attempts: what they cost, and what happens when too many come."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from web_app.auth.attempts import Attempts
from web_app.auth.passwords import Passwords
from web_app.problems import ApiError
from web_app.settings import WebSettings


def settings(**more: Any) -> WebSettings:
    cheap = {"web_password_time_cost": 1, "web_password_memory_kib": 64, "web_password_parallelism": 1}
    return WebSettings(secrets_dir=Path("/nowhere"), **(cheap | more))


async def test_only_the_password_itself_matches() -> None:
    passwords = Passwords(settings())
    stored = await passwords.hash("the right one")
    assert stored.startswith("$argon2id$")
    assert await passwords.verify(stored, "the right one")
    assert not await passwords.verify(stored, "the wrong one")
    assert not await passwords.verify("no hash", "the right one")
    assert await passwords.hash("the right one") != stored


async def test_nobody_has_no_password_not_even_the_one_that_time_is_spent_on() -> None:
    passwords = Passwords(settings())
    for guess in ("", "the password of nobody"):
        assert not await passwords.verify(None, guess)


async def test_nobody_costs_as_much_as_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in uses of Argon2, which is what takes the time."""
    passwords = Passwords(settings())
    stored = await passwords.hash("x")
    await passwords.verify(None, "x")  # makes the hash of nobody, once
    uses: list[str] = []
    hasher = passwords._hasher
    original = type(hasher).verify

    def counted(self: Any, against: str, password: str) -> bool:
        uses.append(against)
        return original(self, against, password)

    monkeypatch.setattr(type(hasher), "verify", counted)
    for account in (stored, None):
        uses.clear()
        await passwords.verify(account, "y")
        assert len(uses) == 1
        assert uses[0].split("$")[3] == stored.split("$")[3], "the same cost"


def test_a_hash_of_another_cost_is_outdated() -> None:
    cheap, dear = Passwords(settings()), Passwords(settings(web_password_time_cost=2))
    stored = asyncio.run(cheap.hash("x"))
    assert not cheap.is_outdated(stored)
    assert dear.is_outdated(stored)


async def test_the_loop_turns_while_passwords_are_hashed_and_a_long_queue_is_refused() -> None:
    passwords = Passwords(
        settings(web_password_time_cost=3, web_password_memory_kib=4096, web_password_queue=5)
    )
    hashing = [asyncio.create_task(passwords.hash("x")) for _ in range(8)]
    turns = 0
    while not all(task.done() for task in hashing):
        turns += 1
        await asyncio.sleep(0)
    results = await asyncio.gather(*hashing, return_exceptions=True)
    refused = [each for each in results if isinstance(each, ApiError)]
    assert [each.code for each in refused] == ["slow_down"] * 3
    assert refused[0].retry_after_ms
    assert turns > 10
    await passwords.hash("there is room again")


def test_attempts_are_counted_for_each_account_and_address(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(settings(web_login_limit="2/minute", web_address_limit="5/minute"))
    for _ in range(2):
        attempts.log_in("acme", "A@example.com", "10.0.0.1")
    with pytest.raises(ApiError) as refused:
        attempts.log_in("acme", "a@EXAMPLE.com", "10.0.0.1")
    assert refused.value.code == "slow_down"
    assert refused.value.retry_after_ms is not None
    assert 0 < refused.value.retry_after_ms <= 61_000
    attempts.log_in("acme", "a@example.com", "10.0.0.2")
    attempts.log_in("acme", "b@example.com", "10.0.0.1")
    attempts.from_address("10.0.0.1")
    attempts.from_address("10.0.0.1")
    with pytest.raises(ApiError):
        attempts.from_address("10.0.0.1")
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    attempts.log_in("acme", "a@example.com", "10.0.0.1")
