"""Whom `<!here>` and groups mean, found when a message is taken; what the text itself names needs no finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from channel_server.core.directory import Directory
from services.contract.events import MessageEdited, MessagePosted
from services.contract.mentions import MAX_MENTIONS
from services.markup.mentions import mentions_of

Here = Callable[[str], Iterable[str]]
"""Channel -> those of its members who are active, as far as this node knows."""


def resolve(
    directory: Directory, here: Here, channel: str, sender: str, event: MessagePosted | MessageEdited
) -> tuple[str, ...]:
    """The people in the channel whom the text means without naming them: MAX_MENTIONS at most, not the sender."""
    if "<!" not in event.text:
        return ()
    named = mentions_of(event.text)
    if not named.unresolved:
        return ()
    found: dict[str, None] = {}
    workspace = directory.users[sender].workspace_id if sender in directory.users else ""
    for id in named.groups:
        group = directory.groups.get(id)
        if group is not None and group.workspace_id == workspace:
            found.update((user, None) for user in group.user_ids if directory.membership(channel, user) & 1)
    if named.here:
        found.update(dict.fromkeys(here(channel)))
    for user in (sender, *named.users):
        found.pop(user, None)
    return tuple(found)[:MAX_MENTIONS]
