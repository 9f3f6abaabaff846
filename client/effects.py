"""What the sans-I/O core asks of the shell around it, in the order in which it must be done."""

from __future__ import annotations

from typing import NamedTuple

from client.model import Ack, Shown


class Show(NamedTuple):
    """Give this to the application. `size`: about how many bytes it holds."""

    event: Shown
    size: int


class FillGap(NamedTuple):
    """Fetch by REST what `Session.lacking(channel)` names, again and again until it names nothing."""

    channel: str


class LookUp(NamedTuple):
    """Look for `Session.look_up(ticket)` in history by REST, and report `found` or `absent`."""

    ticket: int


class Resolve(NamedTuple):
    """The post with this ticket is acknowledged. `asked`: by looking into history, not by the server's `ack`."""

    ticket: int
    ack: Ack
    asked: bool = False


class Reject(NamedTuple):
    """The post with this ticket is refused for good."""

    ticket: int
    channel: str
    id: str
    code: str
    message: str


class Postponed(NamedTuple):
    """The send with this id was refused for now, or has expired: more will follow by itself."""

    channel: str
    id: str
    code: str


class Reborn(NamedTuple):
    """An expired id was proven absent from the log; its text goes out under a new id."""

    channel: str
    old_id: str
    new_id: str


class Lacks(NamedTuple):
    """`first` .. `last` of this channel have to be fetched, because the server no longer holds them or those behind them; a
    `FillGap` follows, unless one is being filled that this makes longer."""

    channel: str
    first: int
    last: int


class Leave(NamedTuple):
    """Give up this connection and resume on another one.

    `planned`: nothing is wrong with it; go on using it for a random part of `within_ms` (a crowd leaves together:
    spread out), then prefer `nodes`. Otherwise it is of no use from now on.
    """

    reason: str
    planned: bool = False
    nodes: tuple[str, ...] = ()
    within_ms: int = 0


Effect = Show | FillGap | LookUp | Resolve | Reject | Postponed | Reborn | Lacks | Leave
