"""The one parser of messages: CommonMark without HTML, images and reference definitions, with strikethrough and tokens.

Tokens: `<@usr_...>` a person, `<!channel>` everybody in the channel, `<!here>` those of them who are active,
`<!group:grp_...>` a group of people. Inside code they are code.
"""

from __future__ import annotations

import re
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

MAX_NESTING: Final = 20
"""How deep blocks and inline marks may be nested; what is deeper is text, or left out of the tree."""

MAX_BRACKETS: Final = 500
"""A text with more `[` than this has no `[links](...)`: looking for them takes time with the square of their number."""

TOKEN: Final = re.compile(r"<(?:@(usr_[0-9a-f]{32})|!(channel|here)|!group:(grp_[0-9a-f]{32}))>")


def _token(state: StateInline, silent: bool) -> bool:
    match = TOKEN.match(state.src, state.pos)
    if match is None:
        return False
    if not silent:
        token = state.push("mention", "", 0)
        user, everybody, group = match.groups()
        token.meta = {"user": user, "everybody": everybody, "group": group}
        token.content = match.group()
    state.pos = match.end()
    return True


def parse(text: str) -> list[Token]:
    """markdown-it's tokens; a function of the text alone."""
    return (_PARSER if text.count("[") <= MAX_BRACKETS else _WITHOUT_LINKS).parse(text)


def _make() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_NESTING})
    parser.disable(["html_block", "html_inline", "image", "reference"])
    parser.enable("strikethrough")
    parser.inline.ruler.before("autolink", "mention", _token)
    return parser


_PARSER: Final = _make()
_WITHOUT_LINKS: Final = _make().disable("link")
