"""The session registry: who is connected to which node, folded from the topic `sessions`. Pure; the clock is passed in.

Keyed by incarnation, one run of a node: a node that was restarted does not bring back what its earlier run knew, and
what an earlier run says late erases nothing of a newer one. A node that is silent for `GONE` seconds is gone with all
its sessions. That is judged only by who has heard its own heartbeat all that time: otherwise it is the judge, or the
log, that was away, and of two who come back one is heard first.
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf
from typing import Final, NamedTuple

from services.contract.presence import (
    AWAY,
    Away,
    LiveSession,
    NodeBeat,
    PresenceState,
    UserSessions,
    decode,
    node_key,
    sessions_key,
)

BEAT: Final = 3.0
"""Seconds between heartbeats."""

GONE: Final = 10.0
"""Seconds of silence after which a node is gone."""

_HEARS_ITSELF: Final = 2 * BEAT


class Whereabouts(NamedTuple):
    """One live session, and the node that has it (its name; empty before its heartbeat was heard)."""

    node: str
    session: LiveSession


class _Node:
    """`gone`: taken for dead, its sessions hidden; `clean_at`: when to have what it left tombstoned (again)."""

    __slots__ = ("clean_at", "gone", "heard", "name", "users")

    def __init__(self, heard: float) -> None:
        self.name = ""
        self.heard = heard
        self.users: set[str] = set()
        self.gone = False
        self.clean_at = 0.0


class _Told(NamedTuple):
    """What one node says of one person."""

    node: _Node
    sessions: tuple[LiveSession, ...]


class Registry:
    """`now` is monotonic seconds everywhere; heard is what was read, whenever it was written."""

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self._nodes: dict[str, _Node] = {}
        # Every node holds everybody's, and nearly all people are at one: no dictionary for each.
        self._sessions: dict[str, tuple[_Told, ...]] = {}
        self._away: set[str] = set()
        # Its own heartbeat: when it was heard last, and since when without a pause.
        self._heard_itself = -inf
        self._hears_itself_since = 0.0

    # --- the fold ----------------------------------------------------------------------------------------------------

    def apply(self, key: str, value: bytes | None, now: float) -> Collection[str]:
        """Take one record; gives the people whom it concerns."""
        kind, _, rest = key.partition(":")
        if kind == "node":
            return self._beat(rest, value, now)
        if kind == AWAY:
            self._set_away(rest, value)
            return (rest,)
        if not kind.startswith("usr_") or not rest:
            return ()
        told = None if value is None else decode(value, UserSessions)
        self._set_sessions(kind, rest, () if told is None else tuple(told.sessions), now)
        return (kind,)

    def _beat(self, incarnation: str, value: bytes | None, now: float) -> Collection[str]:
        beat = None if value is None else decode(value, NodeBeat)
        if beat is None:
            node = self._nodes.get(incarnation)
            if node is not None and not node.users:
                del self._nodes[incarnation]  # gone; one that lives after all is heard again soon
            return ()
        if incarnation == self.incarnation:
            if now - self._heard_itself > _HEARS_ITSELF:
                self._hears_itself_since = now
            self._heard_itself = now
        node = self._node(incarnation, now)
        node.name, node.heard = beat.name, now
        was_gone, node.gone = node.gone, False
        return tuple(node.users) if was_gone else ()

    def _set_away(self, user_id: str, value: bytes | None) -> None:
        if value is not None and decode(value, Away) is not None:
            self._away.add(user_id)
        else:
            self._away.discard(user_id)

    def _set_sessions(
        self, user_id: str, incarnation: str, sessions: tuple[LiveSession, ...], now: float
    ) -> None:
        node = self._node(incarnation, now) if sessions else self._nodes.get(incarnation)
        if node is None:
            return
        told = tuple(each for each in self._sessions.get(user_id, ()) if each.node is not node)
        if sessions:
            node.users.add(user_id)
            told += (_Told(node, sessions),)
        else:
            node.users.discard(user_id)
        if told:
            self._sessions[user_id] = told
        else:
            self._sessions.pop(user_id, None)

    def _node(self, incarnation: str, now: float) -> _Node:
        node = self._nodes.get(incarnation)
        if node is None:
            node = self._nodes[incarnation] = _Node(now)
        return node

    # --- who is gone ---------------------------------------------------------------------------------------------------

    def judge(self, now: float) -> tuple[set[str], list[str]]:
        """Hide nodes that are gone: the people whom that concerns, and the keys to be tombstoned (by one of the living)."""
        if now - self._heard_itself > _HEARS_ITSELF or now - self._hears_itself_since < GONE:
            return set(), []
        concerned: set[str] = set()
        for node in self._nodes.values():
            if not node.gone and now - node.heard > GONE:
                # Hidden, not forgotten: it may only have been frozen, and be heard again.
                node.gone = True
                concerned |= node.users
        # One of the living has it tombstoned, and again if that one should have died over it.
        living = (incarnation for incarnation, node in self._nodes.items() if not node.gone)
        if self.incarnation != min(living, default=""):
            return concerned, []
        keys: list[str] = []
        for incarnation, node in self._nodes.items():
            if node.gone and now >= node.clean_at:
                node.clean_at = now + GONE
                keys += [sessions_key(user_id, incarnation) for user_id in sorted(node.users)]
                keys.append(node_key(incarnation))
        return concerned, keys

    # --- questions -----------------------------------------------------------------------------------------------------

    def state(self, user_id: str) -> PresenceState:
        sessions = self.whereabouts(user_id)
        if not sessions:
            return "offline"
        if user_id in self._away:
            return "away"
        return "active" if any(where.session.active for where in sessions) else "away"

    def is_away(self, user_id: str) -> bool:
        """Whether they say so themselves."""
        return user_id in self._away

    def whereabouts(self, user_id: str) -> list[Whereabouts]:
        """The person's live sessions at all nodes, the oldest first."""
        found = [
            Whereabouts(node.name, session)
            for node, sessions in self._sessions.get(user_id, ())
            if not node.gone
            for session in sessions
        ]
        return sorted(found, key=lambda one: one.session.since) if len(found) > 1 else found

    def told_of(self, user_id: str) -> tuple[LiveSession, ...]:
        """What the topic says of this node's own sessions of the person."""
        own = self._nodes.get(self.incarnation)
        return next((told.sessions for told in self._sessions.get(user_id, ()) if told.node is own), ())

    def own_users(self) -> set[str]:
        """The people of whom the topic says that they are connected here."""
        node = self._nodes.get(self.incarnation)
        return set() if node is None else set(node.users)

    def nodes(self, now: float) -> list[tuple[str, float, int]]:
        """The living nodes: name, seconds since heard, people connected."""
        return sorted(
            (node.name, now - node.heard, len(node.users)) for node in self._nodes.values() if not node.gone
        )

    @property
    def online(self) -> set[str]:
        """Everybody of whom a session is known."""
        return set(self._sessions)

    def __len__(self) -> int:
        return len(self._sessions)
