"""The cast of the second act: a workspace of its own, and its people's devices, each with what it was shown."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from client import (
    ChannelEvent,
    LockstepClient,
    MemoryTokens,
    MessageEvent,
    Noticed,
    Opened,
    Presence,
    Realtime,
    RestClient,
    SessionEnded,
    Timeline,
    Typing,
)
from client.records import Login
from deploy.demo.waiting import check, until
from services.projection import Message

_FOREVER: Final = 2**40  # a realtime token is good for a day, and the act lasts seconds


class Device:
    """A log-in of somebody, connected to one node; `lines`: the channels as it shows them."""

    def __init__(self, name: str, user: str, client: LockstepClient) -> None:
        self.name = name
        self.user = user
        self.client = client
        self.lines: dict[str, Timeline] = {}
        self.heard: list[Noticed] = []
        self.presence: dict[str, str] = {}
        self.typing: list[Typing] = []
        self.ended = False

    @property
    def rest(self) -> RestClient:
        return self.client.rest

    def message(self, channel: str, seq: int) -> Message | None:
        """A message as this device shows it."""
        line = self.lines.get(channel)
        return line.messages.get(seq) if line is not None else None

    def notices(self, kind: type) -> list[Noticed]:
        """The notices of this kind that it was shown."""
        return [each for each in self.heard if isinstance(each.notice, kind)]

    async def load(self) -> None:
        """What a client starts with; the stream begins right behind it."""
        for channel in (await self.client.sync()).channels:
            await self._show(channel.id, channel.head)

    async def listen(self) -> None:
        """Until the client is closed, or its session ended from elsewhere."""
        try:
            async for event in self.client.events():
                match event:
                    case MessageEvent() | ChannelEvent():
                        self.lines[event.channel].apply(event)
                    case Opened(channel=channel, head=head):
                        await self._show(channel, head)
                    case Noticed():
                        self.heard.append(event)
                    case Presence(users=users):
                        self.presence |= users
                    case Typing():
                        self.typing.append(event)
        except SessionEnded:
            self.ended = True

    async def _show(self, channel: str, head: int) -> None:
        self.lines[channel] = Timeline(await self.rest.messages(channel, at_least=head))


@dataclass
class Cast:
    """Anna is the owner; Omar has two devices. `devices`: those in `channel` and signed in. `root`: the first message."""

    web: str
    nodes: Sequence[str]
    slug: str
    password: str
    exits: contextlib.AsyncExitStack
    devices: list[Device] = field(default_factory=list)
    channel: str = ""
    root: int = 0

    @property
    def anna(self) -> Device:
        return self.devices[0]

    @property
    def omar(self) -> Device:
        return self.devices[1]

    @property
    def yuki(self) -> Device:
        return self.devices[2]

    @property
    def phone(self) -> Device:
        """Omar's other device."""
        return self.devices[3]

    @property
    def everybody(self) -> str:
        return f"all {len(self.devices)} devices"

    async def seen(self, seq: int, holds: Callable[[Message], object], otherwise: str) -> None:
        """Until every device shows message `seq` of the channel so. Raises DemoFailed."""

        def shown() -> bool:
            states = [device.message(self.channel, seq) for device in self.devices]
            return all(state is not None and holds(state) for state in states)

        await until(shown, otherwise)

    async def agreed(self, seq: int, by: int) -> Message:
        """Message `seq` as the database has it after event `by`: every device must come to the very same.

        Raises DemoFailed.
        """
        page = await self.anna.rest.messages(self.channel, around=seq, at_least=by)
        stored = Timeline(page).messages.get(seq)
        check(stored is not None, f"message {seq} is not in the database")
        assert stored is not None
        await self.seen(seq, lambda shown: shown == stored, f"not every device shows {stored}")
        return stored

    async def invited(self, name: str, role: str, channels: Sequence[str] = ()) -> Device:
        """Somebody else comes, with one device; it is not among `devices`."""
        email = f"{name.lower()}@{self.slug}.example.com"
        token = (await self.anna.rest.invite(email, role, channel_ids=channels)).token
        tokens = MemoryTokens()
        async with RestClient(self.web, tokens) as rest:
            login = await rest.accept_invite(token=token, name=name, password=self.password, device="laptop")
        return await self.connected(name, login, tokens)

    @contextlib.asynccontextmanager
    async def returning(self, device: Device, node: str, after: int) -> AsyncIterator[LockstepClient]:
        """Another client of this log-in, at this node, that was away since event `after` of the channel."""
        token = (await device.rest.realtime()).token
        realtime = Realtime(token=token, nodes=[node], expires_at=_FOREVER)
        client = LockstepClient(self.web, device.rest.tokens, realtime=realtime)
        client.begin_at(epoch=device.client.epoch or 0, channels={self.channel: after}, notices=None)
        async with client:
            yield client

    async def connected(self, name: str, login: Login, tokens: MemoryTokens) -> Device:
        """A device that shows what there is and hears what comes, at one node or another in turn."""
        async with RestClient(self.web, tokens) as rest:
            token = (await rest.realtime()).token
        node = self.nodes[len(self.devices) % len(self.nodes)]
        realtime = Realtime(token=token, nodes=[node], expires_at=_FOREVER)
        device = Device(name, login.user.id, LockstepClient(self.web, tokens, realtime=realtime))
        await device.load()
        await self.exits.enter_async_context(device.client)
        listener = asyncio.create_task(device.listen())
        self.exits.push_async_callback(_ended, listener)
        return device


@contextlib.asynccontextmanager
async def cast(web: str, nodes: Sequence[str]) -> AsyncIterator[Cast]:
    """Sign up a workspace and three people, and connect them, to all nodes in turn. Raises LockstepError."""
    async with contextlib.AsyncExitStack() as exits:
        people = Cast(web, nodes, f"demo-{secrets.token_hex(5)}", secrets.token_urlsafe(16), exits)
        tokens = MemoryTokens()
        async with RestClient(web, tokens) as rest:
            login = await rest.sign_up(
                workspace_slug=people.slug, workspace_name="The second act", name="Anna",
                email=f"anna@{people.slug}.example.com", password=people.password, device="laptop",
            )  # fmt: skip
            (people.channel,) = [channel.id async for channel in rest.channels()]
        people.devices.append(await people.connected("Anna", login, tokens))
        for name in ("Omar", "Yuki"):
            people.devices.append(await people.invited(name, "member"))
        phone = MemoryTokens()
        async with RestClient(web, phone) as rest:
            login = await rest.log_in(
                workspace_slug=people.slug, email=f"omar@{people.slug}.example.com",
                password=people.password, device="phone",
            )  # fmt: skip
        people.devices.append(await people.connected("Omar's phone", login, phone))
        yield people


async def _ended(listener: asyncio.Task[None]) -> None:
    listener.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listener
