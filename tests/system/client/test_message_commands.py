"""Promise: what is done to messages can be done, and seen, from the command line."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import typer

from client.cli.later import moment
from tests.stack.lockstep import Stack
from tests.system.client.command import Command
from tests.system.client.test_command import invited, signed_up

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def command(stack: Stack, tmp_path: Path) -> Command:
    return Command(tmp_path, stack.web_url, stack)


async def test_a_conversation_with_a_thread_reactions_and_an_edit(command: Command) -> None:
    await signed_up(command)
    grace = await invited(command, "Grace Hopper")
    number = (await command.ok("send", "general", "--json", "shall we?")).json[0]["seq"]
    root = str(number)
    await command.stored()
    reply = (await command.ok(*grace, "reply", "general", root, "yes", "--json")).json[0]["seq"]
    await command.ok(*grace, "react", "general", root, "👍")
    await command.ok("react", "general", root, "👍")
    await command.ok("unreact", "general", root, "👍")
    await command.ok("edit", "general", root, "shall we begin?")
    await command.ok(*grace, "pin", "general", root)
    last = (await command.ok("send", "general", "--json", "--", "a secret")).json[0]["seq"]
    await command.stored()
    gone = (await command.ok("delete", "general", str(last), "--json")).json[0]["seq"]
    await command.stored()
    await command.ok("tail", "general", "--after", str(gone - 1), "--count", "1")
    shown = (await command.ok("history", "general")).out
    assert "shall we begin?  (edited)  (pinned)  👍 1  [1 reply]" in shown
    assert f"↳{root} Grace Hopper: yes" in shown
    assert "(deleted)" in shown
    assert "secret" not in shown + (await command.ok("history", "general", "--json")).out
    thread = (await command.ok("thread", "general", root)).out
    assert "shall we begin?" in thread
    assert "Grace Hopper: yes" in thread
    assert (await command.ok("pins", "general", "--json")).json[0]["seq"] == number
    assert [each["text"] for each in (await command.ok("versions", "general", root, "--json")).json] == [
        "shall we?",
        "shall we begin?",
    ]
    assert "Only who wrote the message" in (await command(*grace, "edit", "general", root, "no")).err
    unread = (await command.ok("threads", "--json")).json
    assert [(each["root"]["seq"], each["unread"]) for each in unread] == [(number, 1)]
    await command.ok(*grace, "saved", "add", "general", root, "--note", "for later")
    assert "for later" in (await command.ok(*grace, "saved")).out
    await command.ok(*grace, "saved", "remove", "general", root)
    assert (await command.ok(*grace, "saved", "--json")).json == []
    assert reply == number + 1


async def test_a_message_is_scheduled_seen_and_taken_back(command: Command) -> None:
    await signed_up(command)
    made = (await command.ok("schedule", "add", "general", "+2h", "tea?", "--json")).json[0]
    assert [each["id"] for each in (await command.ok("schedule", "--json")).json] == [made["id"]]
    assert "tea?" in (await command.ok("schedule")).out
    await command.ok("schedule", "delete", made["id"])
    assert (await command.ok("schedule", "--json")).json == []
    assert (await command("schedule", "add", "general", "teatime", "x")).code == 2


NOON = dt.datetime(2026, 1, 5, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("when", "then"),
    [
        ("+90s", NOON + dt.timedelta(seconds=90)),
        ("+2d", NOON + dt.timedelta(days=2)),
        ("18:30", NOON.replace(hour=18, minute=30)),
        ("09:00", NOON.replace(hour=9) + dt.timedelta(days=1)),
        ("2026-02-01T08:00", dt.datetime(2026, 2, 1, 8, tzinfo=dt.UTC)),
    ],
)
def test_moments(when: str, then: dt.datetime) -> None:
    assert moment(when, NOON) == round(then.timestamp() * 1000)


@pytest.mark.parametrize("when", ["", "soon", "25:00", "+5", "2026-13-01"])
def test_what_is_no_moment_is_refused(when: str) -> None:
    with pytest.raises(typer.BadParameter):
        moment(when, NOON)
