"""Whom a text addresses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from markdown_it.token import Token

from services.markup.parser import parse


class Mentions(NamedTuple):
    """users and groups: ids in the order of the text, each once; channel: `<!channel>`; here: `<!here>`."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    channel: bool = False
    here: bool = False

    @property
    def unresolved(self) -> bool:
        """Whether the text alone does not say who is meant."""
        return self.here or bool(self.groups)


NOBODY: Final = Mentions()


def mentions_of(text: str) -> Mentions:
    """A function of the text alone. Tokens inside code address nobody; whether an id exists is not asked."""
    if "<" not in text or ("<@" not in text and "<!" not in text):
        return NOBODY
    users: dict[str, None] = {}
    groups: dict[str, None] = {}
    everybody: set[str] = set()
    for token in _tokens(parse(text)):
        if token.type == "mention":
            if token.meta["user"] is not None:
                users[token.meta["user"]] = None
            elif token.meta["group"] is not None:
                groups[token.meta["group"]] = None
            else:
                everybody.add(token.meta["everybody"])
    return Mentions(tuple(users), tuple(groups), "channel" in everybody, "here" in everybody)


def _tokens(tokens: Iterable[Token]) -> Iterable[Token]:
    for token in tokens:
        yield token
        yield from token.children or ()
