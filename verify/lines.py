"""A client's recording: one JSON object a line, told apart by `kind`, in the order in which things happened.

Every line carries `client` (a name), `user` (whose client) and `t` (the client's monotonic clock, ms). `at` is the
wall clock in Unix ms, except in `event` and `ack`, where it is the time that the server gave the event.
"""

from __future__ import annotations

import msgspec

from verify.findings import CannotJudge


class _Line(msgspec.Struct, tag_field="kind", gc=False):
    client: str
    user: str
    t: float


class Sent(_Line, tag="sent"):
    """The client handed this message to a connection, the `attempt`-th time (1, 2, ...)."""

    channel: str
    id: str
    text: str
    at: float = 0
    attempt: int = 1
    via: str = "ws"


class Ack(_Line, tag="ack"):
    """The server vouched for the number. `duplicate`: for an earlier copy, so `at` may be the later one's."""

    channel: str
    id: str
    seq: int
    at: int
    duplicate: bool = False
    via: str = "ws"
    epoch: int | None = None


class Refused(_Line, tag="refused"):
    """The server refused this copy; `final`: the client gave up."""

    channel: str
    id: str
    code: str
    at: float = 0
    final: bool = False


class Event(_Line, tag="event"):
    """The application was shown this. `via`: live, replay, gap (fetched because of one), history (looked up)."""

    epoch: int
    channel: str
    seq: int
    id: str
    sender: str
    at: int
    event: msgspec.Raw
    via: str = "live"


class Opened(_Line, tag="opened"):
    epoch: int
    channel: str
    head: int
    at: float = 0


class Closed(_Line, tag="closed"):
    channel: str
    last_seq: int
    at: float = 0


class Gap(_Line, tag="gap", rename={"from_": "from"}):
    channel: str
    from_: int
    to: int
    at: float = 0


class Reset(_Line, tag="reset"):
    epoch: int
    at: float = 0


class Connected(_Line, tag="connected"):
    """`resumed`: the positions that the client named; `heads`: those that the server answered with."""

    epoch: int
    at: float = 0
    node: str = ""
    session: str = ""
    resumed: dict[str, int] = {}
    heads: dict[str, int] = {}


class Disconnected(_Line, tag="disconnected"):
    code: int | None = None
    reason: str = ""
    at: float = 0


class Rebirth(_Line, tag="rebirth"):
    """The old id expired and is in no source: its text is sent again under the new one."""

    channel: str
    old_id: str
    new_id: str
    at: float = 0


class Other(msgspec.Struct):
    """A line of a kind that tells nothing about the order."""

    kind: str


Line = Sent | Ack | Refused | Event | Opened | Closed | Gap | Reset | Connected | Disconnected | Rebirth

KINDS = frozenset(
    (
        "sent",
        "ack",
        "refused",
        "event",
        "opened",
        "closed",
        "gap",
        "reset",
        "connected",
        "disconnected",
        "rebirth",
    )
)

_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
_other: msgspec.json.Decoder[Other] = msgspec.json.Decoder(Other)


def read_line(text: bytes, where: str) -> Line | None:
    """One line of a recording; None for a kind that does not matter here. Raises CannotJudge, naming `where`."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        try:
            if _other.decode(text).kind not in KINDS:
                return None
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        raise CannotJudge(f"{where} is not a line of a recording: {error}") from error
