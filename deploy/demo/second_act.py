"""The second act: what people do with messages and with one another, and who sees it, each scene checked."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from client import LockstepError
from deploy.control import Addresses
from deploy.demo import scenes_messages, scenes_people
from deploy.demo.devices import Cast, cast
from deploy.demo.story import Told
from deploy.demo.waiting import DemoFailed

SCENES: Final[tuple[tuple[str, Callable[[Cast], Awaitable[Told]]], ...]] = (
    ("presence and typing", scenes_people.presence_and_typing),
    ("a thread", scenes_messages.a_thread),
    ("an edit", scenes_messages.an_edit),
    ("two racing edits", scenes_messages.two_racing_edits),
    ("racing reactions", scenes_messages.racing_reactions),
    ("a deletion", scenes_messages.a_deletion),
    ("a pin", scenes_messages.a_pin),
    ("mentions", scenes_messages.mentions),
    ("a scheduled message", scenes_messages.a_scheduled_message),
    ("a direct message", scenes_people.a_direct_message),
    ("an announcement", scenes_people.an_announcement),
    ("read and unread", scenes_people.reading_on_two_devices),
    ("a guest", scenes_people.a_guest),
    ("signing out from afar", scenes_people.signing_out_from_afar),
)


@dataclass(frozen=True)
class Scene:
    """What came of one. `problem`: what did not hold, empty when all did."""

    title: str
    told: Told | None
    problem: str
    seconds: float


async def play_second_act(addresses: Addresses, console: Console) -> list[Scene]:
    """Play all scenes on a running stack, also after one that failed. Raises LockstepError when it cannot begin."""
    console.print("Anna, Omar with two devices, and Yuki sign up and talk ...")
    played = []
    async with cast(addresses.web, list(addresses.websockets.values())) as people:
        for title, scene in SCENES:
            played.append(await _played(title, scene, people))
    return played


async def _played(title: str, scene: Callable[[Cast], Awaitable[Told]], people: Cast) -> Scene:
    begun = time.monotonic()
    told, problem = None, ""
    try:
        told = await scene(people)
    except (DemoFailed, LockstepError, TimeoutError) as error:
        problem = str(error) or "no end within the time it may take"
    return Scene(title, told, problem, time.monotonic() - begun)


def holds(scenes: Sequence[Scene]) -> bool:
    """Whether every scene was played, and everything in it held."""
    return len(scenes) == len(SCENES) and not any(scene.problem for scene in scenes)


def print_scenes(scenes: Sequence[Scene], console: Console) -> None:
    """A line a scene; what did not hold in red."""
    table = Table(title="The second act", box=None, padding=(0, 2, 0, 0), title_justify="left")
    for heading in ("", "what happened", "seen by", ""):
        table.add_column(heading)
    for scene in scenes:
        if scene.told is None:
            table.add_row(scene.title, Text(scene.problem, style="red"), "", "[bold red]FAILED[/]")
        else:
            table.add_row(scene.title, Text(scene.told.what), scene.told.seen_by, "[green]ok[/]")
    console.print(table)
    console.print()
    seconds = sum(scene.seconds for scene in scenes)
    failed = [scene.title for scene in scenes if scene.problem]
    if failed:
        console.print(f"[bold red]Did not hold: {', '.join(failed)}.[/]")
    else:
        console.print(f"[bold green]Everybody saw what they should, and nothing else[/] ({seconds:.0f} s).")
