"""`LockstepClient`: a person's live view of their channels, and what they say, over any number of broken connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from client.buffer import Events, ReceiveBuffer
from client.connection import Connection, Credential, State
from client.effects import (
    Effect,
    FillGap,
    Lacks,
    Leave,
    LookUp,
    Postponed,
    Reborn,
    Reject,
    Resolve,
    Show,
)
from client.errands import Errands
from client.errors import (
    ClientClosed,
    LockstepError,
    SendRefused,
    Unreachable,
)
from client.model import Ack, CatchingUp, ChannelEvent, MessageEvent, Opened, Shown
from client.realtime import Realtime, RealtimeSource
from client.recorder import Recorder
from client.records import ChannelReply, Sync
from client.rest import RestClient, past_events
from client.sends import check
from client.session import Session
from client.tokens import MemoryTokens, Tokens, TokenStore
from services.contract import frames


class LockstepClient:
    """Connects on entering `async with`, and stays connected until leaving it.

    base_url        of the web app
    tokens          a login, or a store of one (`client.tokens.TokenStore`) that is shared with others
    realtime        what an earlier client was given, so that not even the first connection needs the web app
    on_realtime     called with each new one, to keep it
    on_state        called with each change of the connection's state; must not block
    on_catching_up  called when a channel begins to be held back because what it lacks cannot be fetched now; must not
                    block
    recorder        writes down what is sent and shown, for `lockstep verify`
    name            what this client calls itself to the server
    buffer_events, buffer_bytes     how much is received ahead of the application; beyond that nothing is read
    pipeline        how many sends of one channel may be under way at once. With 1 messages are numbered in the order
                    in which they were posted, whatever happens
    patience_s      how long REST calls are repeated while the web app cannot answer
    fill_within_s   how long what was missed in a channel is asked for in vain, and the channel held back, before it is
                    given up and shown as a `Gap`
    connect_within_s    how long entering waits for the first connection; None: for ever
    http            an httpx client to share
    """

    def __init__(
        self,
        base_url: str,
        tokens: Tokens | TokenStore | None = None,
        *,
        realtime: Realtime | None = None,
        on_realtime: Callable[[Realtime], None] | None = None,
        on_state: Callable[[State], None] | None = None,
        on_catching_up: Callable[[CatchingUp], None] | None = None,
        recorder: Recorder | None = None,
        name: str = "lockstep-python",
        buffer_events: int = 1000,
        buffer_bytes: int = 4 << 20,
        pipeline: int = 1,
        patience_s: float = 10.0,
        fill_within_s: float = 60.0,
        connect_within_s: float | None = 30.0,
        http: httpx.AsyncClient | None = None,
        rng: random.Random | None = None,
    ) -> None:
        store = MemoryTokens(tokens) if isinstance(tokens, Tokens) or tokens is None else tokens
        self._rng = rng or random.Random()
        self.rest = RestClient(base_url, store, http=http, patience_s=patience_s, rng=self._rng)
        self._source = RealtimeSource(self.rest, realtime, on_realtime)
        self._on_state = on_state
        self._recorder = recorder
        self._connect_within_s = connect_within_s
        self._session = Session(rng=self._rng, pipeline=pipeline)
        self._buffer = ReceiveBuffer(buffer_events, buffer_bytes, self._drained)
        self._connection = Connection(self._session, self._buffer, self, name=name, rng=self._rng)
        self._errands = Errands(
            self.rest,
            self._session,
            self._buffer,
            self._rng,
            self._learnt,
            fill_within_s=fill_within_s,
            on_catching_up=on_catching_up,
        )
        self._futures: dict[int, asyncio.Future[Ack]] = {}
        self._directory_at: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._fills: set[asyncio.Task[None]] = set()
        self._first = asyncio.Event()
        self._ended = False
        self._error: LockstepError | None = None
        self.state = State(name="waiting")

    # --- life -------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Raises Unreachable when nobody could be reached in time, NotLoggedIn, SessionEnded."""
        self._own(self._tasks, self._run(), "lockstep connection")
        self._own(self._tasks, self._source.keep_fresh(), "lockstep realtime token")
        try:
            async with asyncio.timeout(self._connect_within_s):
                await self._first.wait()
        except TimeoutError:
            reason = self.state.reason or f"no answer from {self.state.node or self.rest.base_url}"
            await self.aclose()
            raise Unreachable(f"Not connected within {self._connect_within_s:g} s: {reason}") from None
        except asyncio.CancelledError:
            await self.aclose()
            raise
        if self._error is not None:
            await self.aclose()
            raise self._error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Disconnect. Posts without an acknowledgement fail with ClientClosed: await them before, or `flush`."""
        self._end(None)
        tasks = [*self._tasks, *self._fills]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.rest.aclose()

    @property
    def user_id(self) -> str:
        """Who this client speaks for; empty before the first connection."""
        return self._session.user_id

    @property
    def epoch(self) -> int | None:
        return self._session.epoch

    @property
    def cursors(self) -> dict[str, int]:
        """The last seq received of every open channel."""
        return self._session.cursors

    @property
    def notices(self) -> int | None:
        """Your notices up to this number have been received; None before the first connection."""
        return self._session.notices

    def begin_at(self, *, epoch: int, channels: Mapping[str, int], notices: int | None) -> None:
        """Go on from where an earlier view stood: the last seq of each channel, and of the notices.

        Call it before entering. The stream then begins right behind, without hole or overlap.
        """
        self._session.begin_at(epoch, channels, notices)

    async def sync(self) -> Sync:
        """Everything that a client starts with. Before entering, the stream will begin right behind what it says."""
        start = await self.rest.sync()
        if self._session.epoch is None:
            heads = {channel.id: channel.head for channel in start.channels}
            self.begin_at(epoch=start.epoch, channels=heads, notices=start.notices)
        return start

    @property
    def catching_up(self) -> dict[str, CatchingUp]:
        """The channels that are held back now, because what they lack cannot be fetched."""
        return dict(self._errands.catching_up)

    @property
    def realtime(self) -> Realtime | None:
        """What this client connects with now; another client may start with it."""
        return self._source.known

    # --- saying things ----------------------------------------------------------------------------------------

    async def send(
        self,
        channel: str,
        text: str,
        *,
        thread: int | None = None,
        also_to_channel: bool = False,
        directory_at: str | None = None,
    ) -> Ack:
        """Post a message and wait until it is stored for ever; survives broken connections and restarted servers.

        Cancelling it does not take the message back. Raises SendRefused when it is refused for good, InvalidMessage,
        SessionEnded, ClientClosed.
        """
        posted = self.post(
            channel, text, thread=thread, also_to_channel=also_to_channel, directory_at=directory_at
        )
        return await asyncio.shield(posted)

    def post(
        self,
        channel: str,
        text: str,
        *,
        thread: int | None = None,
        also_to_channel: bool = False,
        directory_at: str | None = None,
    ) -> asyncio.Future[Ack]:
        """Post a message without waiting; the future is what `send` waits for.

        `thread`: the seq of the message that it replies to; `also_to_channel`: show the reply in the channel as well.
        `directory_at`, from a REST reply that made the send legal, makes the node wait for that change.
        """
        if self._ended:
            raise self._error or ClientClosed("The client is closed.")
        check(channel, text)
        after = directory_at or self._directory_at.get(channel)
        ticket = self._session.post(
            channel, text, directory_at=after, thread=thread, also_to_channel=also_to_channel
        )
        future: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        # Whoever does not look at the future does not want to hear of it either.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._futures[ticket] = future
        self._connection.wake()
        return future

    async def flush(self) -> None:
        """Wait until every post so far has its verdict, whichever it is."""
        pending = [future for future in self._futures.values() if not future.done()]
        if pending:
            await asyncio.wait(pending)

    # --- people -----------------------------------------------------------------------------------------------

    def watch(self, user_ids: Iterable[str]) -> None:
        """Be shown the presence of these people (500 at most) instead of those before, as `Presence` events."""
        users = list(user_ids)
        if len(users) > frames.MAX_WATCHED:
            raise ValueError(f"{len(users)} people; {frames.MAX_WATCHED} can be watched")
        self._session.watch(users)
        self._connection.wake()

    def typing(self, channel: str, thread: int | None = None) -> None:
        """The person types; call it at most every few seconds. Nothing is done while there is no connection."""
        self._session.say(frames.Typing(channel=channel, thread=thread))
        self._connection.wake()

    def set_active(self, active: bool) -> None:
        """Whether the person is at this device."""
        self._session.say(frames.Activity(active=active))
        self._connection.wake()

    # --- hearing things ---------------------------------------------------------------------------------------

    def events(self) -> Events:
        """Everything of all your channels, per channel in its one order without hole or repeat.

        Ends when the client is closed; raises SessionEnded or NotLoggedIn, after the last event, when the server has
        ended the session.
        """
        return Events(self._buffer)

    async def history(
        self,
        channel: str,
        *,
        after: int | None = None,
        before: int | None = None,
        around: int | None = None,
        limit: int | None = None,
        at_least: int | None = None,
    ) -> list[MessageEvent | ChannelEvent]:
        """A page of what happened before, ascending by seq (the newest page when no place is named; up to 200)."""
        page = await self.rest.events(
            channel, after=after, before=before, around=around, limit=limit, at_least=at_least
        )
        events = past_events(page)
        if self._recorder is not None:
            for event in events:
                self._recorder.shown(event)
        return events

    # --- channels ---------------------------------------------------------------------------------------------

    async def create_channel(self, name: str, *, private: bool = False, topic: str = "") -> ChannelReply:
        """Make a channel; sending to it is legal from here on."""
        reply = await self.rest.create_channel(name, private=private, topic=topic)
        self._note(reply.channel.id, reply.directory_at)
        return reply

    async def direct(self, *user_ids: str) -> ChannelReply:
        """The direct channel with this person, or the group of these."""
        reply = await self.rest.direct(user_ids)
        self._note(reply.channel.id, reply.directory_at)
        return reply

    async def join(self, channel: str) -> None:
        """Become a member of a public channel; sending to it is legal from here on."""
        self._note(channel, (await self.rest.join(channel)).directory_at)

    async def leave(self, channel: str) -> None:
        await self.rest.leave(channel)

    def _note(self, channel: str, directory_at: str | None) -> None:
        if directory_at is not None:
            self._directory_at[channel] = directory_at

    # --- the connection's host (client.connection.Host) ---------------------------------------------------------

    async def credential(self, *, renew: bool, doubt: bool) -> Credential:
        return await self._source.credential(renew=renew, doubt=doubt)

    def apply(self, effects: Iterable[Effect]) -> Leave | None:
        leave: Leave | None = None
        for effect in effects:
            match effect:
                case Show(event, size):
                    self._show(event, size)
                case FillGap(channel):
                    self._own(self._fills, self._errands.fill(channel), f"lockstep gap {channel}")
                case LookUp(ticket):
                    self._own(self._tasks, self._errands.look_up(ticket), "lockstep look-up")
                case Resolve(ticket, ack, asked):
                    if self._recorder is not None:
                        self._recorder.acked(ack, "rest" if asked else "ws")
                    self._directory_at.pop(ack.channel, None)
                    self._settle(ticket, ack)
                case Reject(ticket, channel, id, code, message):
                    if self._recorder is not None:
                        self._recorder.refused(channel, id, code, final=True)
                    self._settle(ticket, SendRefused(code, message, channel=channel, id=id))
                case Postponed(channel, id, code):
                    if self._recorder is not None:
                        self._recorder.refused(channel, id, code, final=False)
                case Reborn(channel, old_id, new_id):
                    if self._recorder is not None:
                        self._recorder.reborn(channel, old_id, new_id)
                case Lacks(channel, first, last):
                    if self._recorder is not None:
                        self._recorder.lacks(channel, first, last)
                case Leave():
                    leave = effect
        return leave

    def sending(self, frame: frames.Send, attempt: int) -> None:
        if self._recorder is not None:
            self._recorder.sent(frame.channel, frame.id, frame.text, attempt)

    def welcomed(self, node: str, frame: frames.Welcome, resume: frames.Resume | None) -> None:
        if self._recorder is not None:
            self._recorder.user = frame.user
            # Positions of another epoch mean nothing to the node: then nothing is resumed.
            resumed = resume.channels if resume is not None and resume.epoch == frame.epoch else {}
            self._recorder.connected(frame.epoch, node, frame.session, resumed, frame.heads)
        self._first.set()
        self.show_state(State(name="connected", node=node))

    def parted(self, code: int, reason: str) -> None:
        for task in self._fills:
            task.cancel()
        if self._recorder is not None:
            self._recorder.disconnected(code, reason)

    def show_state(self, state: State) -> None:
        self.state = state
        if self._on_state is not None:
            self._on_state(state)

    # --- inside -----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._connection.run()
        except LockstepError as error:
            self._end(error)

    def _learnt(self, effects: Iterable[Effect]) -> None:
        self.apply(effects)
        self._connection.wake()

    def _show(self, event: Shown, size: int) -> None:
        if isinstance(event, Opened):
            self._directory_at.pop(event.channel, None)
        if self._recorder is not None:
            self._recorder.shown(event)
        self._buffer.put(event, size)

    def _settle(self, ticket: int, outcome: Ack | LockstepError) -> None:
        future = self._futures.pop(ticket, None)
        if future is None or future.done():
            return
        if isinstance(outcome, Ack):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)

    def _end(self, error: LockstepError | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._error = error
        self._first.set()
        for ticket in list(self._futures):
            self._settle(
                ticket, error or ClientClosed("The client was closed before the message was acknowledged.")
            )
        self._session.forget_sends()
        self._buffer.end(error)
        self.show_state(State(name="ended", reason=str(error) if error is not None else ""))

    def _own(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        tasks.add(task)
        task.add_done_callback(lambda done: self._done(tasks, done))

    def _done(self, tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:  # a defect of ours: nobody may go on waiting for what will not come
            self._end(LockstepError(f"the client failed: {error!r}"))
            raise error

    def _drained(self) -> None:
        self._connection.wake()
