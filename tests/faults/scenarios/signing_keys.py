"""Signing keys, which reach the nodes through the directory: added, and retired, under load."""

from __future__ import annotations

import sys
import time
from functools import partial

import httpx
import jwt

from deploy.local.toolchain import CLONE
from tests.faults.lab import Lab, scenario
from tests.faults.outcome import Outcome
from tests.faults.swarm import is_refused
from tests.faults.told import Spell, spell, told
from tests.stack.crowd import Person
from tests.stack.lockstep import Stack
from tests.stack.process import Process
from tests.stack.waiting import until

_NODES = ("node-1", "node-2")


async def _keys(lab: Lab, stack: Stack, *arguments: str) -> str:
    """`python -m web_app keys ...`: what it says. Raises AssertionError when it refuses."""
    command = Process(
        "keys",
        [sys.executable, "-m", "web_app", "keys", *arguments],
        lab.place("keys") / "keys.log",
        environment=stack.processes["web_app"].environment,
        cwd=CLONE,
    )
    command.spawn()
    try:
        status = await command.wait(60.0)
    finally:
        await command.destroy()
    assert status == 0, command.tail()
    return command.tail()


async def _kid(person: Person) -> str:
    """Which key signs at this moment."""
    return str(jwt.get_unverified_header((await person.rest.realtime()).token)["kid"])


@scenario(
    "directory-keys",
    "signing keys added and retired under load: nobody is lost, a retired key's tokens open nothing",
    limit_s=240.0,
)
async def directory_keys(lab: Lab) -> Outcome:
    stack = await lab.stack()
    outcome = Outcome("")
    spells: list[Spell] = []
    rounds = lab.times(2, 1)
    worthless_s: list[float] = []
    async with lab.load(stack, people=8, channels=2, pause=(0.03, 0.1)) as load:
        owner = load.crowd.owner
        await load.acked(100)
        for number in range(rounds):
            old, new = await _kid(owner), f"rotated-{number}"
            token = (await owner.rest.realtime()).token
            tokens = owner.rest.tokens.load()
            assert tokens is not None
            access = tokens.access_token
            assert jwt.get_unverified_header(access)["kid"] == old
            with load.during("rotating"), spell(spells):
                await _keys(lab, stack, "add", new)

                async def signs(kid: str) -> bool:
                    return await _kid(owner) == kid

                await until(partial(signs, new), what="the new key signs", every=0.5)
                assert not await _opens_nothing(stack.web_url, access)
                await until(partial(_retired, lab, stack, old), what="the old key may be retired", every=2.0)
                begun = time.monotonic()
                for node in _NODES:
                    await until(
                        partial(is_refused, stack.websocket_url(node), token),
                        what=f"{node} refuses the retired key's token",
                        every=0.1,
                    )
                worthless_s.append(time.monotonic() - begun)
                await until(
                    partial(_opens_nothing, stack.web_url, access),
                    what="web_app refuses the retired key's token",
                    every=0.1,
                )
                outcome.recovery_s.append(await load.served_again())
                assert await _kid(owner) == new
        await load.judged(outcome, messages=300)
        seen = told(load, spells)
        assert not seen.final, seen.refused
    outcome.did = f"{rounds} rotations"
    outcome.facts["clients were told"] = seen.words()
    outcome.facts["an old token opened nothing after"] = f"{max(worthless_s):.2f} s"
    return outcome


async def _opens_nothing(web: str, access_token: str) -> bool:
    async with httpx.AsyncClient(base_url=web) as http:
        answer = await http.get("/v1/me", headers={"authorization": f"Bearer {access_token}"})
    return answer.status_code == 401


async def _retired(lab: Lab, stack: Stack, kid: str) -> bool:
    """Retire a key, if it may be retired yet."""
    try:
        await _keys(lab, stack, "retire", kid)
    except AssertionError as refused:
        if "no other key has been published" in str(refused):
            return False
        raise
    return True
