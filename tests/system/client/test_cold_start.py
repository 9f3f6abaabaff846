"""Promise: `chat`, `tail` and `send` begin while the web app and its database are down, and say what they cannot do."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.stack.lockstep import Stack
from tests.system.client.command import Command, hears, next_line
from tests.system.client.test_command import invited, signed_up


@pytest.fixture
def command(breakable: Stack, tmp_path: Path) -> Command:
    return Command(tmp_path, breakable.web_url, breakable)


async def test_tail_and_chat_begin_while_the_web_app_is_down(breakable: Stack, command: Command) -> None:
    await signed_up(command)
    grace = await invited(command, "Grace Hopper")
    await command.ok(*grace, "channels", "join", "general")
    await command.told()
    for who in ((), grace):  # a token and the names are kept from here on
        await command.ok(*who, "chat", "general", stdin="before")
    for name in ("web_app", "persister"):
        await breakable.processes[name].crash()

    async with (
        command.piped("tail", "general", "--json") as tail,
        command.piped(*grace, "tail") as everything,
        command.terminal("chat", "general") as chat,
    ):
        for process in (tail, everything):
            await hears(process, lambda: command.ok(*grace, "send", "general", "are you there?"))
        await chat.shows("what was said before cannot be read now: Cannot reach")
        await chat.shows("#general>")
        chat.type("who is there?\r")
        await chat.shows("Ada Lovelace: who is there?")
        await command.ok(*grace, "send", "general", "me")
        await chat.shows("Grace Hopper: me")
        chat.type("/who\r")
        await chat.shows("who is here cannot be read now")
        for text, name in (("who is there?", "Ada Lovelace"), ("me", "Grace Hopper")):
            line = json.loads(await next_line(tail))
            assert (line["event"]["text"], line["sender_name"], line["via"]) == (text, name, "live")
            line_for_people = await next_line(everything)
            assert f"#general {name}: {text}" in line_for_people, line_for_people
        for process in (tail, everything):
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(60):
                assert await process.communicate() == (b"", b"")
            assert process.returncode == 130

    for arguments in (
        ("tail", "general", "--after", "0"),  # what happened before is history
        ("history", "general"),
        ("channels",),
        ("chat", "nowhere"),
        ("--profile", "stranger", "login", "-w", "x", "--email", "x@example.com", "--password-stdin"),
    ):
        result = await command(*arguments, stdin="password")
        assert (result.code, result.out) == (1, ""), result
        assert result.err.startswith(f"lockstep: Cannot reach {breakable.web_url}"), result.err
        assert result.err.count("\n") == 1, result.err
