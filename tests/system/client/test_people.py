"""What owners and admins decide holds on the WebSocket, too: at once, and for those who are connected."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from client import LockstepClient, SendRefused, SessionEnded
from services.contract.codes import CLOSES
from services.contract.directory import GroupRecord
from services.eventlog.directory import DirectoryTail
from services.eventlog.epoch import current_generation
from tests.stack.lockstep import Stack
from tests.system.client.command import HereCommand
from tests.system.client.people import PASSWORD, joined, owner
from tests.system.client.test_command import invited, signed_up


async def test_who_may_post_holds_at_once(stack: Stack) -> None:
    ada = await owner(stack)
    grace = await joined(stack, ada, "Grace")
    room = (await ada.rest.create_channel("news")).channel.id
    added = await ada.rest.add_members(room, [grace.user_id])
    async with grace.client() as client:
        await client.send(room, "before", directory_at=added.directory_at)
        changed = await ada.rest.change_channel_settings(room, posting="admins")
        with pytest.raises(SendRefused) as refused:
            await client.send(room, "after", directory_at=changed.directory_at)
        assert refused.value.code == "forbidden"
        admin = await ada.rest.change_role(grace.user_id, "admin")
        await client.send(room, "as an admin", directory_at=admin.directory_at)
        shorter = await ada.rest.change_workspace(max_text=5)
        with pytest.raises(SendRefused) as refused:
            await client.send(room, "123456", directory_at=shorter.directory_at)
        assert refused.value.code == "too_large"


async def test_a_deleted_workspace_ends_every_connection_and_no_other(stack: Stack) -> None:
    ada, other = await owner(stack), await owner(stack)
    grace = await joined(stack, ada, "Grace")
    async with grace.client() as client, other.client() as unconcerned:
        await ada.rest.delete_workspace(ada.slug)
        with pytest.raises(SessionEnded) as ended:
            await _to_the_end(client)
        assert ended.value.name == CLOSES["workspace_deleted"].name
        [general] = [each async for each in other.rest.channels()]
        await unconcerned.send(general.id, "still here")


async def test_groups_come_into_the_directory(stack: Stack) -> None:
    ada = await owner(stack)
    made = await ada.rest.create_group("engineers", "Engineers", user_ids=[ada.user_id])
    generation = await current_generation(stack.kafka.bootstrap)
    async with DirectoryTail(stack.kafka.bootstrap, generation) as tail, asyncio.timeout(60):
        while True:
            for record in await tail.batch():
                if isinstance(record, GroupRecord) and record.id == made.group.id:
                    assert (record.handle, record.user_ids) == ("engineers", [ada.user_id])
                    return


async def _to_the_end(client: LockstepClient) -> None:
    async with asyncio.timeout(60):
        async for _ in client.events():
            pass


async def test_what_owners_do_with_the_command(stack: Stack, tmp_path: Path) -> None:
    command = HereCommand(tmp_path, stack.web_url, stack)
    slug = await signed_up(command)
    grace = await invited(command, "Grace Hopper")
    made = (await command.ok("invite", "late@example.com", "--json")).json[0]
    assert made["link"].endswith(made["token"])
    assert "late@example.com" in (await command.ok("invites")).out
    renewed = (await command.ok("invites", "renew", "late@example.com", "--json")).json[0]
    late = ("--profile", "late", "accept-invite", renewed["link"], "--name", "Late", "--password-stdin")
    await command.ok(*late, stdin=PASSWORD)
    await command.ok("invite", "never@example.com")
    await command.ok("invites", "withdraw", "never@example.com")
    assert (await command.ok("invites", "--json")).json == []

    assert "is admin now" in (await command.ok("role", "grace", "admin")).out
    await command.ok("deactivate", "late")
    assert "Late, member, deactivated" in (await command.ok("profile", "late")).out
    assert (await command("--profile", "late", "whoami")).code == 1
    await command.ok("reactivate", "late")

    await command.ok("profile", "--title", "Analyst", "--time-zone", "Europe/London")
    status = await command.ok("status", "In the engine room", "--for", "2h")
    assert "In the engine room (until " in status.out
    assert "In the engine room" in (await command.ok(*grace, "users")).out
    assert "no status" in (await command.ok("status")).out
    assert "22:00 to 07:30 (Europe/London)" in (await command.ok("dnd", "--every-day", "22:00-07:30")).out
    assert "left alone now" in (await command.ok("dnd", "--snooze", "30m")).out

    await command.ok("groups", "create", "engineers", "Engineers", "grace")
    await command.ok("groups", "add", "@engineers", "late", "Ada")
    assert "has 2 people" in (await command.ok("groups", "remove", "engineers", "late")).out
    assert (await command.ok("groups", "members", "engineers")).out.split() == [
        "Ada",
        "Lovelace",
        "Grace",
        "Hopper",
    ]
    await command.ok("groups", "delete", "engineers")

    await command.ok("channels", "create", "news")
    set_ = await command.ok("channels", "set", "news", "--posting", "admins", "--default")
    assert "posting admins, adding everyone, new people are put into it" in set_.out
    assert "#news" in (await command.ok(*grace, "channels", "browse", "NE")).out
    await command.ok("channels", "set", "news", "--no-default")
    await command.ok("channels", "make-private", "news")
    assert (await command.ok(*grace, "channels", "browse", "NE")).out.strip() == "channel  people    topic"
    assert "mentions, muted" in (await command.ok("channels", "notify", "news", "mentions", "--mute")).out

    settings = await command.ok("workspace", "set", "max_text=100", "edit_window_s=60", "name=Acme Ltd")
    assert "Acme Ltd" in settings.out
    assert "too_large" not in (await command("send", "general", "x" * 101)).out
    audit = (await command.ok("workspace", "audit", "--by", "ada")).out
    for act in ("user.role_changed", "invite.renewed", "group.removed", "channel.made_private"):
        assert act in audit
    both = f"{PASSWORD}\nanother battery staple\n"
    await command.ok("password", "--password-stdin", stdin=both)
    await command.ok("workspace", "transfer", "grace")
    await command.ok("workspace", "leave", "--yes")
    assert (await command("whoami")).code == 1
    assert (await command(*grace, "workspace", "delete", "--slug", "another")).code == 1
    await command.ok(*grace, "workspace", "delete", "--slug", slug)
    login = ("login", "-w", slug, "--email", "grace@example.com", "--password-stdin")
    assert (await command(*login, stdin=PASSWORD)).code == 1
