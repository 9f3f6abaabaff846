"""Looking into history for a message of one's own: the only way to know what became of an expired id."""

from __future__ import annotations

from typing import Final

from client.api import PAGE
from client.errors import UnexpectedReply
from client.model import RawEvent
from client.rest import RestClient
from client.sends import Found, Question
from services.contract.events import MessagePosted, read_event
from services.contract.ids import born_ms

_EARLIEST_MS: Final = 600_000
"""A message is numbered at the earliest this long before its id was born, by the log's clock (an epoch's
`future_ms`, one minute by default, with room to spare)."""


async def find_in_history(
    rest: RestClient, question: Question, user_id: str, epoch: int | None
) -> Found | None:
    """Read backwards from `question.head` (or the newest) to where the message cannot stand any more.

    None proves that it is not there, if `head` was given. Raises what `RestClient.events` raises; `not_yet` while
    history does not reach up to `head`; UnexpectedReply when history is of another epoch than `epoch`, to which
    `head` belongs: its numbers prove nothing.
    """
    earliest = born_ms(question.id) - _EARLIEST_MS
    before = None if question.head is None else question.head + 1
    while before is None or before > question.after + 1:
        page = await rest.events(question.channel, before=before, limit=PAGE, at_least=question.head)
        if epoch is not None and page.epoch != epoch:
            raise UnexpectedReply(f"History is of epoch {page.epoch}, the channel servers are in {epoch}.")
        for event in reversed(page.events):
            if event.seq <= question.after or event.at < earliest:
                return None
            if event.id == question.id and event.sender == user_id:
                return Found(page.epoch, event.seq, event.at, _text(event))
        if not page.events or page.events[0].seq <= 1:
            return None
        before = page.events[0].seq
    return None


def _text(event: RawEvent) -> str | None:
    body = read_event(bytes(event.event))
    return body.text if isinstance(body, MessagePosted) else None
