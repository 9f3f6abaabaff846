"""The typed tree of a text: what a program that shows messages walks through instead of parsing them itself.

Blocks hold blocks or inlines; each node is a JSON object told apart by `type`. Texts are plain: whoever shows them
escapes them for where they are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from markdown_it.token import Token

from services.markup.parser import parse

MAX_NODES: Final = 2_000
"""Of a text that would need more, the tree is one paragraph with the text as it is."""


class _Node(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    pass


# --- inlines --------------------------------------------------------------------------------------------------------


class Text(_Node, frozen=True, tag="text"):
    text: str


class Code(_Node, frozen=True, tag="code"):
    text: str


class Break(_Node, frozen=True, tag="break"):
    """A new line within a paragraph."""


class Strong(_Node, frozen=True, tag="strong"):
    children: list[Inline]


class Emphasis(_Node, frozen=True, tag="emphasis"):
    children: list[Inline]


class Strike(_Node, frozen=True, tag="strike"):
    children: list[Inline]


class Link(_Node, frozen=True, tag="link"):
    """`href`: http, https or mailto, percent-encoded."""

    href: str
    children: list[Inline]


class UserMention(_Node, frozen=True, tag="user"):
    user: str


class GroupMention(_Node, frozen=True, tag="group"):
    group: str


class ChannelMention(_Node, frozen=True, tag="channel"):
    """Everybody in the channel."""


class HereMention(_Node, frozen=True, tag="here"):
    """Those in the channel who were active when it was posted."""


Inline = (
    Text
    | Code
    | Break
    | Strong
    | Emphasis
    | Strike
    | Link
    | UserMention
    | GroupMention
    | ChannelMention
    | HereMention
)

# --- blocks ---------------------------------------------------------------------------------------------------------


class Paragraph(_Node, frozen=True, tag="paragraph"):
    children: list[Inline]


class Heading(_Node, frozen=True, tag="heading"):
    """`level`: 1 to 6."""

    level: int
    children: list[Inline]


class Quote(_Node, frozen=True, tag="quote"):
    children: list[Block]


class List(_Node, frozen=True, tag="list"):
    """`start`: the first item's number; None for a list without numbers."""

    items: list[list[Block]]
    start: int | None = None


class CodeBlock(_Node, frozen=True, tag="code_block"):
    """`language`: as it was written after the fence, or empty."""

    text: str
    language: str = ""


class Rule(_Node, frozen=True, tag="rule"):
    pass


Block = Paragraph | Heading | Quote | List | CodeBlock | Rule

_SCHEMES: Final = ("http:", "https:", "mailto:")


def tree_of(text: str) -> list[Block]:
    """The blocks of a text. A function of the text alone, for every text."""
    tokens = parse(text)
    if sum(1 + len(token.children or ()) for token in tokens) > MAX_NODES:
        return [Paragraph([Text(text)])]
    return _blocks(_Reader(tokens))


class _Reader:
    """Tokens, one after another."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._next = 0

    def take(self) -> Token | None:
        if self._next == len(self._tokens):
            return None
        self._next += 1
        return self._tokens[self._next - 1]


def _blocks(reader: _Reader) -> list[Block]:
    """Up to the token that closes what is open, or the end."""
    blocks: list[Block] = []
    while (token := reader.take()) is not None and token.nesting != -1:
        match token.type:
            case "paragraph_open":
                blocks.append(Paragraph(_inlines_of(reader)))
            case "heading_open":
                blocks.append(Heading(int(token.tag[1:]), _inlines_of(reader)))
            case "blockquote_open":
                blocks.append(Quote(_blocks(reader)))
            case "bullet_list_open":
                blocks.append(List(_items(reader)))
            case "ordered_list_open":
                blocks.append(List(_items(reader), int(token.attrGet("start") or 1)))
            case "fence" | "code_block":
                blocks.append(CodeBlock(token.content, token.info.strip()))
            case "hr":
                blocks.append(Rule())
    return blocks


def _items(reader: _Reader) -> list[list[Block]]:
    items: list[list[Block]] = []
    while (token := reader.take()) is not None and token.nesting != -1:
        items.append(_blocks(reader))
    return items


def _inlines_of(reader: _Reader) -> list[Inline]:
    """What stands between a block's opening and its closing token, which is taken too."""
    inlines: list[Inline] = []
    while (token := reader.take()) is not None and token.nesting != -1:
        inlines += _inlines(_Reader(token.children or ()))
    return inlines


def _inlines(reader: _Reader) -> list[Inline]:
    inlines: list[Inline] = []
    while (token := reader.take()) is not None and token.nesting != -1:
        match token.type:
            case "text" if not token.content:
                pass
            case "text":
                last = inlines[-1] if inlines else None
                if isinstance(last, Text):
                    inlines[-1] = Text(last.text + token.content)
                else:
                    inlines.append(Text(token.content))
            case "code_inline":
                inlines.append(Code(token.content))
            case "softbreak" | "hardbreak":
                inlines.append(Break())
            case "strong_open":
                inlines.append(Strong(_inlines(reader)))
            case "em_open":
                inlines.append(Emphasis(_inlines(reader)))
            case "s_open":
                inlines.append(Strike(_inlines(reader)))
            case "link_open":
                href = str(token.attrGet("href") or "")
                children = _inlines(reader)
                inlines += [Link(href, children)] if href.lower().startswith(_SCHEMES) else children
            case "mention":
                inlines.append(_mention(token))
    return inlines


def _mention(token: Token) -> Inline:
    if token.meta["user"] is not None:
        return UserMention(token.meta["user"])
    if token.meta["group"] is not None:
        return GroupMention(token.meta["group"])
    return ChannelMention() if token.meta["everybody"] == "channel" else HereMention()


def plain(blocks: Sequence[Block | Inline]) -> str:
    """The words alone, tokens included, for checks and previews; marks and structure are gone."""
    return " ".join(part for block in blocks if (part := _plain(block)))


def _plain(node: Block | Inline) -> str:
    match node:
        case Text(text=text) | Code(text=text) | CodeBlock(text=text):
            return text
        case UserMention(user=user):
            return f"<@{user}>"
        case GroupMention(group=group):
            return f"<!group:{group}>"
        case ChannelMention():
            return "<!channel>"
        case HereMention():
            return "<!here>"
        case Break() | Rule():
            return ""
        case List(items=items):
            return " ".join(plain(item) for item in items)
        case _:
            return plain(node.children)
