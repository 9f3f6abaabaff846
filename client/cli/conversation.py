"""A conversation in one channel on the screen, what others say above, what one types below.

On a terminal the input line stays at the bottom while messages scroll past it; with a pipe, each line of input is a
message, and the command ends when the input does and everything said has been stored and shown.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import HTML, AnyFormattedText
from prompt_toolkit.patch_stdout import patch_stdout
from rich.console import Console
from rich.text import Text

from client.cli.context import Context, Place
from client.cli.errors import CommandFailed
from client.cli.messages import history_lines, states_of
from client.cli.output import Describer, held_back, notice, one_line
from client.client import LockstepClient
from client.connection import State
from client.errors import InvalidMessage, LockstepError, SendRefused
from client.model import (
    Ack,
    CatchingUp,
    ChannelEvent,
    Closed,
    Gap,
    MessageEvent,
    Opened,
    Presence,
    Reset,
    Typing,
)
from client.recorder import Recorder
from services.contract.frames import MAX_WATCHED

_HELP: Final = """\
— /history N   show N more of what happened before
— /who         who is in the channel
— /reply N text, /edit N text, /delete N, /react N emoji, /unreact N emoji, /pin N, /unpin N
— //text       say something that begins with /
— /quit        leave (also Ctrl-D)"""
_PATIENCE_S: Final = 30.0
_TYPING_S: Final = 5.0
_SAY_TYPING_S: Final = 3.0


async def converse(here: Context, channel: str, limit: int, recorder: Recorder | None) -> None:
    """Until the person or the server ends it. `limit`: how many events of before are shown."""
    status = _Status()

    def held(what: CatchingUp) -> None:
        status.say(f"— {held_back(what, here.label(what.channel))}")

    async with here.live(on_state=status.changed, on_catching_up=held, recorder=recorder) as live:
        place = await here.place(live.rest, channel, member=True)
        await _Conversation(here, live, place, status).hold(limit)


class _Status:
    """Turns the connection's states into at most one line each time it has been away."""

    def __init__(self) -> None:
        self._lost_at: float | None = None
        self._was_connected = False
        self.say: Callable[[str], None] = lambda _: None
        self.refresh: Callable[[], None] = lambda: None

    @property
    def connected(self) -> bool:
        return self._was_connected and self._lost_at is None

    def changed(self, state: State) -> None:
        if state.name == "connected":
            if self._lost_at is not None:
                away = time.monotonic() - self._lost_at
                self.say(f"— the server went away; reconnected after {away:.1f} s, nothing is missing")
            self._was_connected = True
            self._lost_at = None
        elif self._was_connected and self._lost_at is None:
            self._lost_at = time.monotonic()
        self.refresh()


class _Conversation:
    def __init__(self, here: Context, live: LockstepClient, place: Place, status: _Status) -> None:
        self._here = here
        self._live = live
        self._place = place
        self._status = status
        self._people: dict[str, str] = {}
        self._strangers: set[str] = set()  # whose name was asked for
        self._describer = Describer(self._people, live.user_id)
        self._out = Console(highlight=False, soft_wrap=True)
        self._first = 0  # the earliest seq on the screen
        self._last = 0  # the latest
        self._opened = asyncio.Event()
        self._moved = asyncio.Event()
        self._highest = 0  # the latest of ours that is stored
        self._waiting = 0  # messages typed and not stored yet
        self._present: dict[str, str] = {}  # how members are, of those who are watched
        self._typing: tuple[list[str], float] = ([], 0.0)  # who types, and until when that is believed
        self._said_typing = 0.0

    async def hold(self, limit: int) -> None:
        self._people.update(await self._here.people(self._live.rest))
        self._live.watch(list(self._people)[:MAX_WATCHED])
        self._status.say = self._note
        interactive = sys.stdin.isatty() and sys.stdout.isatty()
        if interactive:
            with patch_stdout(raw=True):
                # Made here: rich writes to what sys.stdout is at the time.
                self._out = Console(highlight=False, soft_wrap=True, force_terminal=True, file=sys.stdout)
                await self._until_done(limit, self._typed())
        else:
            await self._until_done(limit, _piped())

    async def _until_done(self, limit: int, lines: AsyncIterator[str]) -> None:
        """Show and take lines, until the lines end or the server ends it."""
        showing = asyncio.create_task(self._show_events(limit), name="show events")
        taking = asyncio.create_task(self._take_lines(lines), name="take lines")
        try:
            await asyncio.wait({showing, taking}, return_when=asyncio.FIRST_COMPLETED)
            for task in (showing, taking):
                if task.done():
                    task.result()
        finally:
            for task in (showing, taking):
                task.cancel()
            await asyncio.gather(showing, taking, return_exceptions=True)

    # --- showing ----------------------------------------------------------------------------------------------

    async def _show_events(self, limit: int) -> None:
        async for event in self._live.events():
            match event:
                case Reset():
                    self._note(notice(event, ""))
                case Gap(channel=channel) if channel == self._place.id:
                    self._note(notice(event, one_line(self._place.label)))
                case Opened(channel=channel, head=head) if channel == self._place.id:
                    await self._open(head, limit)
                case Closed(channel=channel) if channel == self._place.id:
                    raise CommandFailed(f"You are no longer in {self._place.label}.")
                case Presence(users=users):
                    self._present.update(users)
                case Typing(channel=channel, users=users) if channel == self._place.id:
                    self._typing = (users, time.monotonic() + _TYPING_S)
                    self._status.refresh()
                case MessageEvent() | ChannelEvent() if event.channel == self._place.id:
                    await self._show(event)

    async def _open(self, head: int, limit: int) -> None:
        self._first, self._last = head + 1, head
        label = one_line(self._place.label)
        self._note(f"— {label}: {head} so far; type to talk, /help for more")
        await self._show_before(limit, at_least=head)
        self._opened.set()

    async def _show_before(self, limit: int, *, at_least: int | None = None) -> None:
        if limit == 0 or self._first <= 1:
            return
        try:
            past = await self._live.history(
                self._place.id, before=self._first, limit=limit, at_least=at_least
            )
        except LockstepError as error:
            self._note(f"— what was said before cannot be read now: {error}")
            return
        try:
            states = await states_of(self._live.rest, self._place.id, past)
        except LockstepError:
            states = {}  # as they were said, then
        for line in history_lines(self._describer, past, states):
            self._out.print(line)
        if past:
            self._first = past[0].seq

    async def _show(self, event: MessageEvent | ChannelEvent) -> None:
        if event.sender not in self._people and event.sender not in self._strangers:
            self._strangers.add(event.sender)
            self._people.update(await self._here.people(self._live.rest))
        self._out.print(self._describer.line(event))
        self._last = event.seq
        self._moved.set()

    def _note(self, text: str) -> None:
        self._out.print(Text(text, style="dim"))

    # --- talking ----------------------------------------------------------------------------------------------

    async def _take_lines(self, lines: AsyncIterator[str]) -> None:
        await self._opened.wait()
        verdicts: set[asyncio.Future[Ack]] = set()
        async for line in lines:
            if line.startswith("/") and not line.startswith("//"):
                if not await self._obey(line):
                    return
            elif line.strip():
                posted = self._say(line.removeprefix("/") if line.startswith("//") else line)
                if posted is not None:
                    verdicts.add(posted)
                    posted.add_done_callback(verdicts.discard)
                    posted.add_done_callback(self._settled)
        if verdicts:
            await asyncio.wait(verdicts)
        while self._last < self._highest:
            self._moved.clear()
            async with asyncio.timeout(_PATIENCE_S):
                await self._moved.wait()

    def _say(self, text: str) -> asyncio.Future[Ack] | None:
        try:
            posted = self._live.post(self._place.id, text)
        except InvalidMessage as error:
            self._note(f"— not sent: {error}")
            return None
        self._waiting += 1
        self._status.refresh()
        return posted

    def _settled(self, posted: asyncio.Future[Ack]) -> None:
        self._waiting -= 1
        self._status.refresh()
        error = posted.exception()
        if error is None:
            self._highest = max(self._highest, posted.result().seq)
        elif isinstance(error, SendRefused):
            self._note(f"— not sent: {error}")

    async def _obey(self, line: str) -> bool:
        """A command; False when it is to be the last."""
        word, _, rest = line.strip().partition(" ")
        match word:
            case "/quit" | "/q" | "/exit":
                return False
            case "/history":
                await self._show_before(min(200, int(rest)) if rest.strip().isdigit() else 50)
            case "/who":
                try:
                    members = [member async for member in self._live.rest.members(self._place.id)]
                except LockstepError as error:
                    self._note(f"— who is here cannot be read now: {error}")
                else:
                    self._note(
                        "— " + ", ".join(self._as_present(each.user_id, each.name) for each in members)
                    )
            case "/reply" | "/edit" | "/delete" | "/react" | "/unreact" | "/pin" | "/unpin":
                await self._change(word[1:], rest.strip())
            case _:
                self._note(_HELP)
        return True

    async def _change(self, act: str, rest: str) -> None:
        """Do something to the message whose number comes first."""
        number, _, text = rest.partition(" ")
        calls, place = self._live.rest, self._place.id
        if not number.isdecimal() or (act in ("reply", "edit", "react", "unreact")) != bool(text.strip()):
            self._note(_HELP)
            return
        seq = int(number)
        try:
            match act:
                case "reply":
                    posted = await self._live.send(place, text, thread=seq)
                    self._highest = max(self._highest, posted.seq)
                    return
                case "edit":
                    done = await calls.edit_message(place, seq, text)
                case "delete":
                    done = await calls.delete_message(place, seq)
                case "react":
                    done = await calls.react(place, seq, text.strip())
                case "unreact":
                    done = await calls.unreact(place, seq, text.strip())
                case "pin":
                    done = await calls.pin(place, seq)
                case _:
                    done = await calls.unpin(place, seq)
        except LockstepError as error:
            self._note(f"— not done: {error}")
        else:
            self._highest = max(self._highest, done.seq)

    async def _typed(self) -> AsyncIterator[str]:
        """Lines from the terminal, until Ctrl-D."""
        prompt: PromptSession[str] = PromptSession(erase_when_done=True)
        self._status.refresh = lambda: prompt.app.invalidate()
        prompt.default_buffer.on_text_changed += lambda buffer: self._types(buffer.text)
        try:
            while True:
                try:
                    yield await prompt.prompt_async(self._prompt)
                except EOFError:
                    return
        finally:
            self._status.refresh = lambda: None

    def _types(self, text: str) -> None:
        now = time.monotonic()
        if text and not text.startswith("/") and now >= self._said_typing + _SAY_TYPING_S:
            self._said_typing = now
            self._live.typing(self._place.id)

    def _as_present(self, user_id: str, name: str) -> str:
        state = self._present.get(user_id)
        return one_line(name) + (f" ({state})" if state in ("active", "away") else "")

    def _typists(self) -> str:
        users, until = self._typing
        if not users or time.monotonic() > until:
            return ""
        names = ", ".join(self._describer.name(user) for user in users[:3])
        return f" {names} typing… " if len(users) <= 3 else " several people typing… "

    def _prompt(self) -> AnyFormattedText:
        label = one_line(self._place.label)
        if not self._status.connected:
            waiting = f", {self._waiting} to send" if self._waiting else ""
            return HTML("<ansiyellow>{} (reconnecting{})</ansiyellow>> ").format(label, waiting)
        if self._waiting:
            return HTML("<b>{}</b> <ansigray>({} under way)</ansigray>> ").format(label, self._waiting)
        return HTML("<b>{}</b><ansigray>{}</ansigray>> ").format(label, self._typists())


async def _piped() -> AsyncIterator[str]:
    """Lines of standard input, until it ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield line.rstrip("\r\n")
