"""What one client did and was shown, as JSON lines: the evidence that `lockstep verify` judges.

Every line has `t` (monotonic ms), `at` (wall clock, ms), `client`, `user` and `kind`; the rest depends on the kind.
The order of the lines is the order in which the client acted and the application was shown things.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from client.model import (
    Ack,
    ChannelEvent,
    Closed,
    Gap,
    MessageEvent,
    Noticed,
    NoticeGap,
    Opened,
    Presence,
    Reset,
    Shown,
    Typing,
)
from client.noticed import NOTICES

_encoder = msgspec.json.Encoder()


class Recorder:
    """Appends to `path` (made if missing); buffered: `flush` or `close` before others read it. A context manager.

    `user` is filled in by the client once it knows.
    """

    def __init__(self, path: Path | str, client: str, user: str = "") -> None:
        self.client = client
        self.user = user
        self._file: BinaryIO = Path(path).open("ab", buffering=1 << 16)  # noqa: SIM115 - closed by `close`

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def write(self, kind: str, **fields: object) -> None:
        """One line. Must not be called after `close`."""
        line = {
            "t": time.monotonic_ns() // 1_000_000,
            "at": time.time_ns() // 1_000_000,
            "client": self.client,
            "user": self.user,
            "kind": kind,
        }
        # An event's own `at` is the log's clock, and is what the format means there.
        line.update(fields)
        self._file.write(_encoder.encode(line) + b"\n")

    def sent(self, channel: str, id: str, text: str, attempt: int) -> None:
        self.write("sent", channel=channel, id=id, text=text, attempt=attempt)

    def acked(self, ack: Ack, via: str) -> None:
        self.write(
            "ack",
            epoch=ack.epoch,
            channel=ack.channel,
            id=ack.id,
            seq=ack.seq,
            at=ack.at,
            duplicate=ack.duplicate,
            via=via,
        )

    def refused(self, channel: str, id: str, code: str, *, final: bool) -> None:
        self.write("refused", channel=channel, id=id, code=code, final=final)

    def reborn(self, channel: str, old_id: str, new_id: str) -> None:
        self.write("rebirth", channel=channel, old_id=old_id, new_id=new_id)

    def lacks(self, channel: str, first: int, last: int) -> None:
        if channel == NOTICES:
            self.write("notices_gap", **{"from": first, "to": last})
            return
        self.write("gap", channel=channel, **{"from": first, "to": last})

    def connected(
        self, epoch: int, node: str, session: str, resumed: Mapping[str, int], heads: Mapping[str, int]
    ) -> None:
        self.write("connected", epoch=epoch, node=node, session=session, resumed=resumed, heads=heads)

    def disconnected(self, code: int, reason: str) -> None:
        self.write("disconnected", code=code, reason=reason)

    def shown(self, event: Shown) -> None:
        match event:
            case MessageEvent() | ChannelEvent():
                self.write(
                    "event",
                    epoch=event.epoch,
                    channel=event.channel,
                    seq=event.seq,
                    id=event.id,
                    sender=event.sender,
                    at=event.at,
                    event=msgspec.Raw(event.raw),
                    via=event.via,
                )
            case Opened():
                self.write("opened", epoch=event.epoch, channel=event.channel, head=event.head)
            case Closed():
                self.write("closed", channel=event.channel, last_seq=event.last_seq)
            case Gap():
                # It was written when it was announced, but has grown if too much came behind it.
                self.lacks(event.channel, event.first, event.last)
            case Noticed():
                self.write(
                    "notice",
                    epoch=event.epoch,
                    seq=event.seq,
                    id=event.id,
                    sender=event.sender,
                    at=event.at,
                    notice=msgspec.Raw(event.raw),
                    via=event.via,
                )
            case NoticeGap():
                self.lacks(NOTICES, event.first, event.last)
            case Presence() | Typing():
                pass  # it passes, and no order is promised for it
            case Reset():
                self.write("reset", epoch=event.epoch)
