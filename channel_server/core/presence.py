"""Presence: what this node tells of its sessions, and what it shows to those who watch people.

What is told is the state, never the change: a person whose sessions here differ from what the topic says is written
once, with all of them. What is shown is the state at the time of showing: for each connection the people of whom it
was shown something else are remembered, no more of them than it watches, and nothing is queued. So neither costs
more than one record a person and moment, and one frame a connection and second, however wildly people come and go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from channel_server.core.audience import Subscriber
from channel_server.core.compose import prepared
from channel_server.core.directory import Directory
from channel_server.core.registry import BEAT, Registry
from services.contract.frames import PresenceFrame
from services.contract.presence import (
    MAX_SESSIONS,
    Away,
    LiveSession,
    NodeBeat,
    PresenceState,
    UserSessions,
    away_key,
    encode,
    node_key,
    sessions_key,
)

SHOW_EVERY: Final = 1.0
MOST_SHOWN: Final = 100
"""People in one frame; the others come with the next second's."""

TELL_AT_ONCE: Final = 2_000
"""Records written in one go: the rest comes with the next."""


class Told(NamedTuple):
    """A record of the topic `sessions`; `value` None: a tombstone."""

    key: str
    value: bytes | None


class Watcher:
    """One connection that watches people. `shown`: of each, what it was shown; `stale`: of whom that may be wrong;
    `unheard`: whom this node's directory has not heard of yet."""

    __slots__ = ("at", "shown", "stale", "subscriber", "unheard")

    def __init__(self, subscriber: Subscriber) -> None:
        self.subscriber = subscriber
        self.shown: dict[str, PresenceState | None] = {}
        self.stale: dict[str, None] = {}
        self.unheard: set[str] = set()
        self.at = 0.0


class Presence:
    """`sessions_of(user_id)`: what this node's own connections of a person are now. `connected()`: all people who have any.
    `put`: as `delivery.Delivery.put`."""

    def __init__(
        self,
        registry: Registry,
        directory: Directory,
        node_name: str,
        sessions_of: Callable[[str], Sequence[LiveSession]],
        connected: Callable[[], Iterable[str]],
        put: Callable[[Subscriber, bytes], bool],
    ) -> None:
        self.registry = registry
        self._directory = directory
        self._name = node_name
        self._sessions_of = sessions_of
        self._connected = connected
        self._put = put
        self._changed: dict[str, None] = {}
        self._pending: dict[str, bytes | None] = {}
        self._beat_at = 0.0
        self._watchers: dict[Subscriber, Watcher] = {}
        self._watched: dict[str, set[Watcher]] = {}
        self._unheard: dict[str, set[Watcher]] = {}
        self._due: dict[Watcher, None] = {}
        self._active: dict[str, set[str]] = {}
        self.counts: Counter[str] = Counter()
        """records, coalesced (changes that went with a record that was due anyway), frames, states (in them), held_back
        (frames not shown yet, because the connection was behind or everything held), unwatchable."""

    # --- what this node tells --------------------------------------------------------------------------------------------

    def changed(self, user_id: str) -> None:
        """A session of theirs at this node began, ended or fell idle."""
        if user_id in self._changed:
            self.counts["coalesced"] += 1
        self._changed[user_id] = None

    def set_away(self, user_id: str, away: bool, wall_ms: int) -> None:
        """They say whether they are away, on all devices."""
        key = away_key(user_id)
        if key in self._pending:
            self.counts["coalesced"] += 1
        # Also what the topic seems to say already: the opposite may be on its way there.
        self._pending[key] = encode(Away(since=wall_ms)) if away else None

    def tell(self, now: float, wall_ms: int) -> list[Told]:
        """What is to be written now. Call it a few times a second; what could not be written is given to `again`."""
        told: list[Told] = []
        if now >= self._beat_at:
            self._beat_at = now + BEAT
            beat = NodeBeat(name=self._name, at=wall_ms)
            told.append(Told(node_key(self.registry.incarnation), encode(beat)))
        for user_id in list(self._changed)[:TELL_AT_ONCE]:
            del self._changed[user_id]
            sessions = list(self._sessions_of(user_id))[:MAX_SESSIONS]
            value = encode(UserSessions(sessions=sessions)) if sessions else None
            told.append(Told(sessions_key(user_id, self.registry.incarnation), value))
        for key in list(self._pending)[:TELL_AT_ONCE]:
            told.append(Told(key, self._pending.pop(key)))
        self.counts["records"] += len(told)
        return told

    @property
    def has_untold(self) -> bool:
        """Whether `tell` would give more than a heartbeat."""
        return bool(self._changed or self._pending)

    def again(self, told: Iterable[Told]) -> None:
        """These could not be written: their subjects are to be told of anew."""
        own = f":{self.registry.incarnation}"
        for key, value in told:
            if key.startswith("usr_") and key.endswith(own):
                self._changed[key.removesuffix(own)] = None
            elif not key.startswith("node:"):
                self._pending.setdefault(key, value)

    # --- what the topic says ---------------------------------------------------------------------------------------------

    def heard(self, key: str, value: bytes | None, now: float) -> None:
        """A record of the topic, one's own ones among them."""
        own = f":{self.registry.incarnation}"
        for user_id in self.registry.apply(key, value, now):
            self._moved(user_id)
            if key.endswith(own):
                self._compare(user_id)

    def adopt(self, registry: Registry) -> None:
        """The topic was read anew, from its beginning to its end: this is what it says now. It may have lost what it was
        told of this node's people."""
        concerned = self.registry.online | registry.online
        self.registry = registry
        for user_id in concerned:
            self._moved(user_id)
        for user_id in registry.own_users().union(self._connected()):
            self._compare(user_id)

    def judge(self, now: float) -> None:
        """Drop nodes that are gone."""
        concerned, keys = self.registry.judge(now)
        for user_id in concerned:
            self._moved(user_id)
        for key in keys:
            self._pending[key] = None
        self.counts["tombstones"] += len(keys)

    def _compare(self, user_id: str) -> None:
        if tuple(self._sessions_of(user_id))[:MAX_SESSIONS] != self.registry.told_of(user_id):
            self._changed[user_id] = None

    def _moved(self, user_id: str) -> None:
        state = self.registry.state(user_id)
        user = self._directory.users.get(user_id)
        if user is not None:
            active = self._active.setdefault(user.workspace_id, set())
            (active.add if state == "active" else active.discard)(user_id)
        for watcher in self._watched.get(user_id, ()):
            if watcher.shown.get(user_id) != state:
                watcher.stale[user_id] = None
                self._due[watcher] = None

    def known(self, user_id: str) -> None:
        """The directory has heard of them."""
        for watcher in self._unheard.pop(user_id, ()):
            watcher.unheard.discard(user_id)
            self._begin(watcher, user_id)
        if self.registry.state(user_id) != "offline":
            self._moved(user_id)

    def active_in(self, channel: str, workspace_id: str) -> list[str]:
        """The members of a channel of the workspace (empty: it is not known which) who are active, at whatever node."""
        membership = self._directory.membership
        groups = [self._active.get(workspace_id, set())] if workspace_id else list(self._active.values())
        return [user for active in groups for user in active if membership(channel, user) & 1]

    # --- what is shown ---------------------------------------------------------------------------------------------------

    def watch(self, subscriber: Subscriber, user_ids: Iterable[str], now: float) -> None:
        """It watches these from now on, as far as it may, and is shown how all of them are."""
        self.unwatch(subscriber)
        watcher = self._watchers[subscriber] = Watcher(subscriber)
        for user_id in user_ids:
            if user_id in self._directory.users:
                self._begin(watcher, user_id)
            else:
                watcher.unheard.add(user_id)
                self._unheard.setdefault(user_id, set()).add(watcher)
        watcher.at = now

    def _begin(self, watcher: Watcher, user_id: str) -> None:
        if not self._may_watch(watcher.subscriber, user_id):
            self.counts["unwatchable"] += 1
            return
        watcher.shown[user_id] = None
        watcher.stale[user_id] = None
        self._watched.setdefault(user_id, set()).add(watcher)
        self._due[watcher] = None

    def unwatch(self, subscriber: Subscriber) -> None:
        """It watches nobody any more. Harmless when it did not."""
        watcher = self._watchers.pop(subscriber, None)
        if watcher is None:
            return
        self._due.pop(watcher, None)
        for group, user_ids in ((self._watched, watcher.shown), (self._unheard, watcher.unheard)):
            for user_id in user_ids:
                watchers = group[user_id]
                watchers.discard(watcher)
                if not watchers:
                    del group[user_id]

    def show(self, now: float) -> None:
        """Show what has changed to who watches, each at most once a second. Call it several times a second; `show` follows."""
        for watcher in list(self._due):
            if now < watcher.at:
                continue
            stale = list(watcher.stale)
            states: dict[str, PresenceState] = {}
            for user_id in stale:
                state = self.registry.state(user_id)
                # A guest may have left since the channel that they shared.
                if state == watcher.shown[user_id] or not self._may_watch(watcher.subscriber, user_id):
                    del watcher.stale[user_id]
                    continue
                if len(states) == MOST_SHOWN:
                    break
                states[user_id] = state
            if states and not self._put(watcher.subscriber, prepared(PresenceFrame(users=states))):
                self.counts["held_back"] += 1
                watcher.at = now + SHOW_EVERY
                continue
            for user_id, state in states.items():
                watcher.shown[user_id] = state
                del watcher.stale[user_id]
            if states:
                watcher.at = now + SHOW_EVERY
                self.counts["frames"] += 1
                self.counts["states"] += len(states)
            if not watcher.stale:
                del self._due[watcher]

    def _may_watch(self, subscriber: Subscriber, user_id: str) -> bool:
        """Of one's own workspace; guests only those with whom they share a channel."""
        me, other = subscriber.user, self._directory.users.get(user_id)
        if me is None or other is None or other.workspace_id != me.workspace_id:
            return False
        if me.role != "guest" or me is other:
            return True
        return any(m & 1 and other.memberships.get(channel, 0) & 1 for channel, m in me.memberships.items())

    @property
    def watchers(self) -> int:
        return len(self._watchers)
