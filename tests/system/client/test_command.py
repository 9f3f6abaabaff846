"""The `lockstep` command against a real Lockstep, as people and scripts use it."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from pathlib import Path

import pytest

from tests.stack.lockstep import Stack
from tests.stack.waiting import until
from tests.system.client.command import Command, hears, next_line
from tests.system.client.people import PASSWORD

pytestmark = pytest.mark.timeout(900)

_numbers = itertools.count(1)


async def signed_up(command: Command) -> str:
    """Ada, owner of a new workspace; gives its short name."""
    slug = f"command-{next(_numbers)}"
    arguments = (
        "signup",
        "-w",
        slug,
        "--name",
        "Ada Lovelace",
        "--email",
        "ada@example.com",
        "--password-stdin",
    )
    await command.ok(*arguments, stdin=PASSWORD)
    await command.told()
    return slug


async def invited(command: Command, name: str) -> tuple[str, str]:
    """Somebody else in the same workspace, with a profile of their own; gives the options that choose it."""
    email = f"{name.split()[0].lower()}@example.com"
    token = (await command.ok("invite", email, "--json")).json[0]["token"]
    profile = ("--profile", name.split()[0].lower())
    # One in 64 tokens begins with a hyphen.
    options = ("--name", name, "--password-stdin", "--", token)
    await command.ok(*profile, "accept-invite", *options, stdin=PASSWORD)
    await command.told()
    return profile


@pytest.fixture
def command(stack: Stack, tmp_path: Path) -> Command:
    return Command(tmp_path, stack.web_url, stack)


async def test_from_signing_up_to_logging_out(command: Command, stack: Stack) -> None:
    slug = await signed_up(command)
    who = await command.ok("whoami")
    assert f"Ada Lovelace <ada@example.com>, owner of {slug}" in who.out
    assert (await command.ok("whoami", "--json")).json[0]["url"] == stack.web_url
    await command.ok("channels", "create", "engine-room", "--topic", "Cards, cogs and carries")
    await command.told()
    listed = await command.ok("channels")
    assert "#general" in listed.out
    assert "Cards, cogs and carries" in listed.out
    assert (await command.ok("send", "engine-room", "Hello,", "world")).out.startswith("#engine-room ")
    await command.stored()
    assert "Ada Lovelace: Hello, world" in (await command.ok("history", "#Engine-Room")).out
    await command.ok("logout")
    refused = await command("whoami")
    assert (refused.code, refused.out) == (1, "")
    assert "lockstep login" in refused.err
    again = ("login", "-w", slug, "--email", "ada@example.com", "--password-stdin")
    assert (await command(*again, stdin="wrong password")).code == 1
    await command.ok(*again, stdin=PASSWORD)
    await command.ok("whoami")


async def test_people_and_channels(command: Command) -> None:
    await signed_up(command)
    grace = await invited(command, "Grace Hopper")
    assert "Grace Hopper" in (await command.ok("users")).out
    await command.ok("channels", "create", "secret", "--private")
    assert "secret" not in (await command.ok(*grace, "channels")).out
    assert (
        "Added to #secret: Grace Hopper." in (await command.ok("channels", "invite", "secret", "grace")).out
    )
    assert "Grace Hopper" in (await command.ok("channels", "members", "secret")).out
    await command.told()
    await command.ok(*grace, "send", "secret", "thank you")
    await command.ok("channels", "remove", "secret", "grace@example.com")
    assert (await command(*grace, "send", "secret", "am I still here?")).code == 1
    await command.ok(*grace, "channels", "leave", "general")
    assert (await command(*grace, "send", "general", "hello")).err.strip().endswith("lets you in.")
    await command.ok(*grace, "channels", "join", "general")
    await command.told()
    await command.ok(*grace, "send", "general", "hello")
    await command.ok("channels", "rename", "general", "lobby")
    await command.ok("channels", "topic", "lobby", "come in")
    await command.ok("channels", "archive", "lobby")
    await command.at_last("archived", "send", "lobby", "too late")
    await command.ok("channels", "unarchive", "lobby")
    await command.ok(*grace, "channels", "leave", "lobby")
    await command.told()
    words = (await command.ok("history", "lobby")).out
    for happened in (
        "Grace Hopper joined",
        "renamed the channel to #lobby",
        "set the topic: come in",
        "unarchived",
        "left",
    ):
        assert happened in words, words

    async def sent() -> bool:
        return (await command("send", "@grace", "just between us")).code == 0

    await until(sent, what="the nodes have heard of the direct channel", every=0.5)
    await command.stored()
    assert "Ada Lovelace: just between us" in (await command.ok(*grace, "history", "@Ada Lovelace")).out


async def test_history_in_parts_for_scripts(command: Command) -> None:
    await signed_up(command)
    lines = "".join(f"line {n}\n" for n in range(1, 8))
    sent = (await command.ok("send", "general", "--lines", "--json", stdin=lines)).json
    first = sent[0]["seq"]
    assert [each["seq"] for each in sent] == list(range(first, first + 7))
    await command.stored()

    async def seqs(*options: str) -> list[int]:
        return [each["seq"] for each in (await command.ok("history", "general", "--json", *options)).json]

    assert await seqs("--after", str(first + 2), "--limit", "2") == [first + 3, first + 4]
    assert await seqs("--before", str(first + 2), "--limit", "2") == [first, first + 1]
    assert await seqs("-n", "3") == [first + 4, first + 5, first + 6]
    assert (await command("history", "general", "--after", "1", "--before", "2")).code == 2
    event = (await command.ok("history", "general", "--json", "-n", "1")).json[0]
    assert event["event"] == {"type": "message.posted", "text": "line 7"}
    assert event["sender_name"] == "Ada Lovelace"


async def test_text_comes_out_as_it_went_in(command: Command) -> None:
    await signed_up(command)
    text = "שלום, 日本語 😀 é e\u0301\nsecond line\ttab"
    await command.ok("send", "general", "-", stdin=text + "\n")
    await command.stored()
    event = (await command.ok("history", "general", "--json", "-n", "1")).json[0]
    assert event["event"]["text"] == text
    bad = await command("send", "general", stdin=b"\xff\xfe")
    assert (bad.code, "UTF-8" in bad.err) == (1, True)


async def test_failures_are_one_sentence(command: Command, tmp_path: Path) -> None:
    nobody = await command("channels")
    assert (nobody.code, nobody.err.count("\n")) == (1, 1)
    assert "not logged in" in nobody.err
    await signed_up(command)
    for arguments, words in (
        (("send", "nowhere", "x"), "no channel #nowhere"),
        (("channels", "create", "general"), "already"),
        (("send", "general", "x" * 12_001), "12,001 characters"),
        (("send", "@nobody", "x"), "nobody called"),
        (("accept-invite", "A" * 43, "--name", "X", "--password-stdin"), "invitation"),
        (("history", "ch_" + "0" * 32), ""),
    ):
        result = await command(*arguments, stdin=PASSWORD)
        assert (result.code, result.out) == (1, ""), (arguments, result)
        assert result.err.startswith("lockstep: ")
        assert result.err.count("\n") == 1, result.err
        assert words in result.err, result.err


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    result = await Command(tmp_path, "http://127.0.0.1:9")(
        "login", "-w", "acme", "--email", "a@example.com", "--password-stdin", stdin=PASSWORD
    )
    assert result.code == 1
    assert "Cannot reach http://127.0.0.1:9" in result.err
    assert "make up" in result.err


async def test_tail_prints_what_happens_as_json(command: Command) -> None:
    await signed_up(command)
    await command.ok("send", "general", "before")
    await command.stored()
    async with command.piped("tail", "general", "--json", "--after", "0") as tail:
        assert tail.stdout is not None
        for wanted in ("channel.created", "members.added", "message.posted"):
            async with asyncio.timeout(60):
                assert json.loads(await tail.stdout.readline())["event"]["type"] == wanted
        await command.ok("send", "general", "now")
        async with asyncio.timeout(60):
            event = json.loads(await tail.stdout.readline())
        assert (event["event"]["text"], event["via"]) == ("now", "live")
        tail.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            assert await tail.wait() == 130
        assert tail.stderr is not None
        assert await tail.stderr.read() == b""
    await command.stored()
    assert len((await command.ok("tail", "general", "--after", "0", "--count", "2")).out.splitlines()) == 2


async def test_a_reader_that_has_enough_ends_it_quietly(command: Command) -> None:
    """As in `lockstep tail | head -1`."""
    await signed_up(command)
    for options in (("--json",), ()):
        async with command.piped("tail", "general", "--after", "0", *options) as tail:
            assert tail.stdout is not None
            assert tail.stderr is not None
            async with asyncio.timeout(60):
                assert await tail.stdout.readline()
            assert tail._transport is not None  # type: ignore[attr-defined]
            tail._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
            await command.ok("send", "general", "one more")
            async with asyncio.timeout(60):
                code = await tail.wait()
            assert (await tail.stderr.read(), code) == (b"", 1)


async def test_ctrl_c_leaves_a_chat(command: Command) -> None:
    await signed_up(command)
    async with command.terminal("chat", "general") as chat:
        await chat.shows("#general>")
        chat.type("half a thou\x03")
        async with asyncio.timeout(60):
            assert await chat.process.wait() == 130
        assert "Traceback" not in chat.text


async def test_what_one_may_not_do_is_said(command: Command) -> None:
    await signed_up(command)
    grace = await invited(command, "Grace Hopper")
    token = (await command.ok("invite", "kelly@example.com", "--json")).json[0]["token"]
    kelly = ("--profile", "kelly", "accept-invite", token, "--name", "Grace Kelly", "--password-stdin")
    await command.ok(*kelly, stdin=PASSWORD)
    await command.ok("channels", "create", "engine-room")
    for who, arguments, words in (
        (grace, ("invite", "x@example.com"), "admin"),
        (grace, ("channels", "archive", "general"), "owners and admins"),
        (grace, ("history", "engine-room"), "channels join engine-room"),
        (grace, ("tail", "engine-room"), "channels join engine-room"),
        ((), ("send", "@grace", "hello"), "several people"),
    ):
        result = await command(*who, *arguments)
        assert (result.code, result.out) == (1, ""), (arguments, result)
        assert result.err.count("\n") == 1
        assert words in result.err, result.err


async def test_chat_through_a_pipe_sends_each_line_and_ends(command: Command) -> None:
    await signed_up(command)
    await command.ok("send", "general", "before")
    await command.stored()
    result = await command.ok("chat", "general", stdin="first\n\n//slashed\n/who\nsecond")
    for wanted in ("before", "Ada Lovelace: first", "Ada Lovelace: /slashed", "Ada Lovelace: second"):
        assert wanted in result.out
    assert "\x1b" not in result.out
    await command.stored()
    texts = [each["event"].get("text") for each in (await command.ok("history", "general", "--json")).json]
    assert texts[-3:] == ["first", "/slashed", "second"]


async def test_two_people_chat_on_their_terminals(command: Command) -> None:
    await signed_up(command)
    grace = await invited(command, "Grace Hopper")
    await command.ok(*grace, "channels", "join", "general")
    async with (
        command.terminal("chat", "general") as ada,
        command.terminal(*grace, "chat", "general") as hopper,
    ):
        await ada.shows("type to talk")
        await hopper.shows("type to talk")
        ada.type("hello Grace\r")
        await hopper.shows("Ada Lovelace: hello Grace")
        await ada.shows("Ada Lovelace: hello Grace")
        hopper.type("hello \x1b[D Ada\r")
        await ada.shows("Grace Hopper: hello")

        async def both_are_there() -> bool:
            ada.type("/who\r")
            await ada.shows("— Ada Lovelace")
            return "— Ada Lovelace (active), Grace Hopper (active)" in ada.text

        await until(both_are_there, every=0.5)
        await command.ok("channels", "remove", "general", "grace")
        async with asyncio.timeout(60):
            assert await hopper.process.wait() == 1
        await hopper.shows("You are no longer in #general.")
        ada.type("\x04")
        async with asyncio.timeout(60):
            assert await ada.process.wait() == 0


async def test_chat_survives_everything_and_says_so(breakable: Stack, tmp_path: Path) -> None:
    """Its node dies, then the other one, and the web app is away: what was typed is sent all the same."""
    command = Command(tmp_path, breakable.web_url, breakable)
    await signed_up(command)
    await command.ok("send", "general", "before")
    await command.stored()
    async with command.terminal("chat", "general") as chat:
        await chat.shows("Ada Lovelace: before")
        await breakable.processes["web_app"].crash()
        for name in ("node-1", "node-2"):
            await breakable.processes[name].crash()
        await chat.shows("(reconnecting")
        chat.type("are you there?\r")
        await chat.shows("1 to send")
        await breakable.start("node-2")
        await chat.shows("nothing is missing")
        await chat.shows("Ada Lovelace: are you there?")
        # A line each time that it was away: it may have reached the other node before that died too.
        assert chat.text.count("nothing is missing") <= 2
        # Known names and a kept token are enough for a new command, too.
        assert (await command.ok("send", "general", "the web app is away")).out.startswith("#general ")
        await chat.shows("Ada Lovelace: the web app is away")
    await breakable.start("web_app", "node-1")
    await command.stored()
    history = (await command.ok("history", "general", "--json", "-n", "3")).json
    assert [each["event"]["text"] for each in history] == ["before", "are you there?", "the web app is away"]


async def test_what_tail_records_can_be_judged(command: Command, tmp_path: Path) -> None:
    await signed_up(command)
    path = tmp_path / "tail.jsonl"
    async with command.piped("tail", "general", "--record", str(path)) as tail:
        sent = tmp_path / "sent.jsonl"
        recorded = ("--record", str(sent))
        await hears(tail, lambda: command.ok("send", "general", "are you there?", *recorded))
        for n in range(3):
            await command.ok("send", "general", f"message {n}", *recorded)
        for n in range(3):
            assert f"message {n}" in await next_line(tail)
        tail.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            await tail.wait()
    await command.stored()
    export = tmp_path / "history.jsonl"
    export.write_text((await command.ok("history", "general", "--export")).out, "utf-8")
    judged = await command("verify", str(path), str(sent), "--history", str(export))
    assert judged.code == 0, judged
