"""Promise: everybody sees who is there, at whatever node; and what a lost node knew is forgotten, and stays forgotten."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from client import (
    ApiError,
    LockstepClient,
    MemoryTokens,
    MessageEvent,
    Presence,
    RestClient,
    SessionEnded,
    Typing,
)
from tests.stack.lockstep import Stack
from tests.stack.waiting import until
from tests.system.client.command import Command
from tests.system.client.people import PASSWORD, Someone, in_channel, joined, owner
from tests.system.client.test_command import invited, signed_up
from tests.system.client.test_notices import at_node


class View:
    """What somebody is shown of people."""

    def __init__(self, client: LockstepClient) -> None:
        self.client = client
        self.states: dict[str, str] = {}
        self.typing: list[Typing] = []
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self.client.events():
            if isinstance(event, Presence):
                self.states.update(event.users)
            elif isinstance(event, Typing):
                self.typing.append(event)


async def another_log_in(somebody: Someone) -> Someone:
    rest = RestClient(somebody.rest.base_url, MemoryTokens())
    await rest.log_in(workspace_slug=somebody.slug, email=somebody.email, password=PASSWORD, device="phone")
    return Someone(rest, somebody.user_id, somebody.slug, somebody.email)


async def test_presence_typing_and_sessions_over_two_nodes(breakable: Stack) -> None:
    ada = await owner(breakable)
    ben = await joined(breakable, ada, "Ben")
    channel = (await ada.rest.create_channel("office")).channel.id
    await ada.rest.add_members(channel, [ben.user_id])
    phone = await another_log_in(ben)
    await breakable.told()
    async with await at_node(breakable, ada, "node-1") as a, await at_node(breakable, ben, "node-2") as b:
        view = View(a)
        a.watch([ben.user_id])
        await until(lambda: view.states.get(ben.user_id) == "active", what="ben is there")
        await in_channel(channel, a, b)

        def ben_is_seen_typing() -> bool:
            b.typing(channel, thread=None)  # who types says so again and again: one word of it may be dropped
            return bool(view.typing)

        await until(ben_is_seen_typing, every=0.5)
        assert (view.typing[0].channel, view.typing[0].users) == (channel, [ben.user_id])
        async with await at_node(breakable, phone, "node-1") as p:

            async def connected() -> bool:
                mine = await ben.rest.live_sessions()
                return sum(len(each.connections) for each in mine.sessions) == 2

            await until(connected, what="both devices are known")
            mine = await ben.rest.live_sessions()
            by_device = {each.device: each for each in mine.sessions}
            assert [c.node for c in by_device["phone"].connections] == ["node-1"]
            (other,) = [each for each in mine.sessions if each.current]
            assert [c.node for c in other.connections] == ["node-2"]
            assert other.connections[0].address.startswith("127.0.0.1:")
            assert mine.presence == "active"

            await ben.rest.set_away(True)
            await until(lambda: view.states[ben.user_id] == "away", what="ben is away by his own word")
            await ben.rest.set_away(False)
            await until(lambda: view.states[ben.user_id] == "active", what="and no longer")

            await ben.rest.revoke_session(by_device["phone"].id)
            await until(lambda: p.state.name == "ended", what="signed out from afar")
            await until(lambda: _gone(ben, by_device["phone"].id), what="and nowhere connected")

        await until(lambda: _both_are_heard(ada), what="both nodes are heard")
        open_there = await ada.rest.connections("node-2")
        assert [each.user for each in open_there.items] == [ben.user_id], "of this workspace, and of no other"
        for call in (ben.rest.nodes(), ben.rest.connections("node-1")):
            with pytest.raises(ApiError) as refused:
                await call
            assert refused.value.code == "forbidden"
        view.task.cancel()


async def _both_are_heard(somebody: Someone) -> bool:
    return [node.name for node in (await somebody.rest.nodes()).items] == ["node-1", "node-2"]


async def test_who_was_signed_out_from_afar_is_shown_nothing_that_builds_on_what_came_later(
    breakable: Stack,
) -> None:
    """By order rather than by the clock: a message that its node may take only when it knows of a later change of the
    directory (of a person: memberships come with the channel's own events, too, and sooner)."""
    ada = await owner(breakable)
    ben = await joined(breakable, ada, "Ben")
    channel = (await ada.rest.create_channel("office")).channel.id
    await ada.rest.add_members(channel, [ben.user_id])
    for node in ("node-1", "node-2"):
        async with await at_node(breakable, ada, node) as a:
            await until(lambda: channel in a.cursors, what="ada is in the channel")
            for n in range(3):
                phone = await another_log_in(ben)
                shown = await _shown_until_signed_out(breakable, node, a, ada, phone, channel, f"{node} {n}")
                assert shown == [f"before {node} {n}"]


async def _shown_until_signed_out(
    stack: Stack, node: str, talker: LockstepClient, host: Someone, phone: Someone, channel: str, name: str
) -> list[str]:
    shown: list[str] = []
    async with await at_node(stack, phone, node) as p:
        reading = asyncio.create_task(_texts(p, shown))
        await until(lambda: channel in p.cursors, what="the phone is in the channel")
        await talker.send(channel, f"before {name}")
        await until(lambda: shown, what="the phone is shown what is said")
        (current,) = [each.id for each in (await phone.rest.live_sessions()).sessions if each.current]
        await phone.rest.revoke_session(current)
        later = await host.rest.change_profile(title=f"after {name}")
        assert later.directory_at is not None
        await talker.send(channel, f"after {name}", directory_at=later.directory_at)
        await asyncio.wait([reading])
        assert isinstance(reading.exception(), SessionEnded)
    return shown


async def _texts(client: LockstepClient, shown: list[str]) -> None:
    async for event in client.events():
        if isinstance(event, MessageEvent):
            shown.append(event.text)


async def _gone(somebody: Someone, session: str) -> bool:
    return session not in [each.id for each in (await somebody.rest.live_sessions()).sessions]


async def test_a_lost_node_is_forgotten_and_does_not_come_back_with_old_sessions(breakable: Stack) -> None:
    ada = await owner(breakable)
    ben = await joined(breakable, ada, "Ben")
    async with await at_node(breakable, ada, "node-1") as a:
        view = View(a)
        a.watch([ben.user_id])
        b = await at_node(breakable, ben, "node-2")
        async with b:
            await until(lambda: view.states.get(ben.user_id) == "active", what="ben is there")
            await breakable.processes["node-2"].crash()
        # Nobody says goodbye for him.
        await until(lambda: view.states[ben.user_id] == "offline", what="the lost node is noticed")
        await breakable.start("node-2")
        await until(lambda: _both_are_heard(ada), what="it is back")
        async with httpx.AsyncClient(timeout=30) as http:
            for node in ("node-1", "node-2"):
                answer = await http.get(
                    f"{breakable.internal_url(node)}/internal/v1/presence",
                    params={"user": ben.user_id},
                    headers={"authorization": f"Bearer {breakable.service_token}"},
                )
                assert answer.json()["sessions"] == []
        assert view.states[ben.user_id] == "offline"
        view.task.cancel()


async def test_the_commands_about_people_now(breakable: Stack, tmp_path: Path) -> None:
    command = Command(tmp_path, breakable.web_url, breakable)
    await signed_up(command)
    grace = await invited(command, "Grace Hopper")
    async with command.piped(*grace, "tail", "--json") as tail:
        assert tail.stdout is not None
        await until(lambda: _is_there(command, "Grace Hopper"), what="the tail is connected")
        assert "Told everybody" in (await command.ok("announce", "Tea is at four")).out
        async with asyncio.timeout(60):
            while b'"notice"' not in (line := await tail.stdout.readline()):
                assert line, "it ended"
        told = json.loads(line)
        assert (told["sender_name"], told["notice"]["text"]) == ("Ada Lovelace", "Tea is at four")
        (mine,) = [
            each
            for each in (await command.ok(*grace, "sessions", "--json")).json[0]["sessions"]
            if each["current"]
        ]
        assert mine["connections"], "the tail"
    assert "Told 1." in (await command.ok("announce", "Only you", "--to", "grace@example.com")).out
    sent = (await command.ok("send", "general", "Have you read this?", "--json")).json[0]
    waiting = await until(lambda: _unread(command, grace), what="the message waits for her")
    assert [each["unread"] for each in waiting] == [1]
    await command.ok(*grace, "read", "general")
    await until(lambda: _read_everything(command, grace), what="all is read")
    await command.ok(*grace, "read", "general", "--unread-from", str(sent["seq"]))
    refused = await command(*grace, "announce", "me too")
    assert refused.code == 1


async def _is_there(command: Command, name: str) -> bool:
    there = (await command.ok("who", "--all", "--json")).json
    return {each["name"]: each["presence"] for each in there}.get(name) == "active"


async def _unread(command: Command, profile: tuple[str, str]) -> list[Any]:
    return (await command.ok(*profile, "unread", "--json")).json


async def _read_everything(command: Command, profile: tuple[str, str]) -> bool:
    return "You have read everything" in (await command.ok(*profile, "unread")).out
