"""Events put straight into a cell's log, past any node."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator

from services.contract.envelope import encode_envelope
from services.contract.events import MessagePosted, encode_event
from services.contract.generation import Generation
from services.contract.ids import new_event_id
from services.eventlog.appender import Appender

_WAITING = 5_000


async def append_each(
    kafka: str, generation: Generation, posts: Iterable[tuple[str, str]], *, text: int = 300
) -> int:
    """A posted message for each (channel, sender), in this order; gives how many, once the log has them."""

    def failed(error: Exception) -> None:
        raise error

    count = 0
    async with Appender(
        kafka, generation.events_topic, generation.partitions, max_in_flight=20_000, on_failure=failed
    ) as appender:
        for channel, sender in posts:
            header = encode_envelope(channel, sender, new_event_id(), time.time_ns() // 1_000_000)
            appender.append(channel, header, encode_event(MessagePosted(text=f"{count} ".ljust(text, "x"))))
            count += 1
            if appender.in_flight >= _WAITING:
                await appender.flush()
        await appender.flush()
    return count


def in_turn(channels: Iterable[str], senders: Iterable[str], count: int) -> Iterator[tuple[str, str]]:
    """So many posts, over the channels and the senders in turn."""
    return itertools.islice(zip(itertools.cycle(channels), itertools.cycle(senders), strict=False), count)
