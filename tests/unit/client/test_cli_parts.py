"""The parts of the command: what is kept on disk, and how things look."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner

from client.cli.errors import CommandFailed
from client.cli.main import app
from client.cli.output import Describer, as_json, colour_of, printable
from client.cli.profile import Names, Profile, Saved
from client.model import ChannelEvent, MessageEvent, shown_event
from client.realtime import Realtime
from client.records import User, Workspace
from client.tokens import Tokens

ADA = "usr_" + "a" * 32
GRACE = "usr_" + "b" * 32


def saved(access: str = "a1") -> Saved:
    return Saved(
        url="http://here",
        tokens=Tokens(access_token=access, refresh_token="r", expires_at=time.time()),
        user=User(id=ADA, name="Ada", role="owner"),
        workspace=Workspace(id="ws", slug="acme", name="Acme"),
    )


def test_only_the_owner_can_read_what_is_kept(tmp_path: Path) -> None:
    profile = Profile("default", tmp_path / "lockstep")
    profile.log_in(saved())
    profile.keep_realtime(Realtime(token="t", expires_at=1.0, nodes=[]))
    assert stat.S_IMODE(profile.folder.stat().st_mode) == 0o700
    for file in profile.folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_new_login_forgets_what_belonged_to_the_old_one(tmp_path: Path) -> None:
    profile = Profile("default", tmp_path)
    profile.log_in(saved())
    profile.names = Names(channels={"general": "ch_1"})
    profile.keep_realtime(Realtime(token="t", expires_at=1.0, nodes=[]))
    profile.log_in(saved("a2"))
    assert profile.realtime is None
    assert profile.names == Names()
    tokens = profile.load()
    assert tokens is not None
    assert tokens.access_token == "a2"


def test_profiles_are_apart_and_logging_out_leaves_nothing(tmp_path: Path) -> None:
    ada, grace = Profile("ada", tmp_path), Profile("grace", tmp_path)
    ada.log_in(saved())
    assert grace.saved() is None
    ada.log_out()
    ada.log_out()
    assert list(tmp_path.iterdir()) == []


async def test_two_commands_do_not_refresh_at_the_same_time(tmp_path: Path) -> None:
    inside = 0
    most = 0

    async def refresh() -> None:
        nonlocal inside, most
        async with Profile("default", tmp_path).exclusive():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(refresh() for _ in range(3)))
    assert most == 1


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65])
def test_a_profile_cannot_be_anywhere_else(name: str, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed):
        Profile(name, tmp_path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    profile = Profile("default", tmp_path)
    profile.log_in(saved())
    (profile.folder / "login.json").write_text("{", "utf-8")
    with pytest.raises(CommandFailed, match=r"login\.json"):
        profile.saved()


def test_the_words_of_others_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in printable("\x1b[2Jboo\x9b1A\x07")
    assert printable("a\tb\nc") == "a\tb\nc"
    assert printable("abc\u202edef") == "abc\ufffddef"
    assert printable("שלום 😀 日本語") == "שלום 😀 日本語"


def message(text: str, seq: int = 7) -> MessageEvent | ChannelEvent:
    body = msgspec.json.encode({"type": "message.posted", "text": text})
    return shown_event(1, "ch", seq, "id", GRACE, 1_700_000_000_000, body, "live")


def other(**body: object) -> MessageEvent | ChannelEvent:
    return shown_event(1, "ch", 8, "id", GRACE, 1_700_000_000_000, msgspec.json.encode(body), "live")


def rendered(event: MessageEvent | ChannelEvent) -> str:
    out = Console(width=200, highlight=False, force_terminal=False, soft_wrap=True)
    with out.capture() as capture:
        out.print(Describer({ADA: "Ada", GRACE: "Grace\x1b[31m"}, ADA).line(event))
    return capture.get()


def test_messages_show_their_number_who_said_it_and_all_lines() -> None:
    line = rendered(message("[bold]one[/]\ntwo"))
    assert "    7  Grace\ufffd[31m: [bold]one[/]\n            two" in line


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"type": "channel.created", "kind": "public", "name": "general"}, "made the channel #general"),
        ({"type": "members.added", "user_ids": [GRACE], "version": 1}, "joined"),
        ({"type": "members.added", "user_ids": [ADA], "version": 1}, "added Ada"),
        ({"type": "members.removed", "user_ids": [GRACE], "version": 1}, "left"),
        ({"type": "members.added", "user_ids": [ADA] * 7, "version": 1}, "and 2 more"),
        ({"type": "channel.topic_set", "topic": ""}, "removed the topic"),
        ({"type": "channel.archived"}, "archived the channel"),
        ({"type": "reaction.added", "emoji": "+1"}, "reaction.added"),
    ],
)
def test_every_kind_of_event_is_put_into_words(body: dict[str, object], words: str) -> None:
    assert words in rendered(other(**body))


def test_the_same_person_has_the_same_colour() -> None:
    assert colour_of(ADA) == colour_of(ADA)


def test_json_keeps_the_body_as_it_was() -> None:
    line = msgspec.json.encode(as_json(other(type="of.tomorrow", x=[1, {"y": 2}]), {GRACE: "Grace"}))
    read = msgspec.json.decode(line)
    assert read["event"] == {"type": "of.tomorrow", "x": [1, {"y": 2}]}
    assert read["sender_name"] == "Grace"


COMMANDS = [
    "signup",
    "login",
    "logout",
    "whoami",
    "accept-invite",
    "chat",
    "send",
    "tail",
    "history",
    "channels",
    "users",
    "invite",
    "verify",
]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_overview_and_has_help_of_its_own(name: str) -> None:
    runner = CliRunner(env={"COLUMNS": "120"})
    assert name in runner.invoke(app, ["--help"]).output
    helped = runner.invoke(app, [name, "--help"])
    assert helped.exit_code == 0
    assert "Usage" in helped.output


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["send"],
        ["history", "general", "--limit", "0"],
        ["history", "general", "--after", "1", "--before", "2"],
        ["login"],  # without a terminal nobody can be asked
        ["login", "-w", "acme", "--email", "a@example.com"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], tmp_path: Path) -> None:
    runner = CliRunner(env={"XDG_CONFIG_HOME": str(tmp_path)})
    assert runner.invoke(app, arguments).exit_code == 2


@pytest.mark.parametrize("module", ["prompt_toolkit", "aiokafka", "asyncpg"])
def test_a_command_that_does_not_need_it_does_not_wait_for(module: str) -> None:
    loaded = f"import sys, client.cli.main; print({module!r} in sys.modules)"
    said = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
