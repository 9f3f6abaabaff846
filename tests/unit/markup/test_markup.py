"""The mark-up of messages: what docs/markup.md says, for every text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.markup.mentions import NOBODY, Mentions, mentions_of
from services.markup.parser import MAX_NESTING
from services.markup.tree import MAX_NODES, Block, Paragraph, Text, plain, tree_of

ANNA, OMAR = "usr_" + "a" * 32, "usr_" + "b" * 32
GROUP = "grp_" + "c" * 32

TOKENS = [f"<@{ANNA}>", f"<@{OMAR}>", "<!channel>", "<!here>", f"<!group:{GROUP}>"]
MARKS = [
    "*",
    "**",
    "~~",
    "`",
    "```",
    "\n",
    "\n\n",
    "> ",
    "- ",
    "1. ",
    "[",
    "](http://a.example)",
    "<",
    ">",
    "\\",
    "#",
    "x",
]
marked = st.lists(st.sampled_from(TOKENS + MARKS) | st.text(max_size=5), max_size=40).map("".join)


def examples() -> list[tuple[str, object]]:
    page = (Path(__file__).parents[3] / "docs" / "markup.md").read_text("utf-8")
    found = re.findall(r"````text\n(.*?)\n````\n+```json\n(.*?)```", page, re.DOTALL)
    return [(text, json.loads(tree)) for text, tree in found]


@pytest.mark.parametrize(("text", "tree"), examples())
def test_the_examples_of_the_page(text: str, tree: object) -> None:
    assert json.loads(msgspec.json.encode(tree_of(text))) == tree


def test_the_page_has_examples() -> None:
    assert len(examples()) >= 4


@given(marked)
def test_every_text_has_a_tree_that_its_json_gives_back(text: str) -> None:
    tree = tree_of(text)
    assert msgspec.json.decode(msgspec.json.encode(tree), type=list[Block]) == tree


@given(marked)
def test_whom_a_text_addresses_is_whom_its_tree_shows(text: str) -> None:
    def walk(node: object) -> list[object]:
        if isinstance(node, list):
            return [found for each in node for found in walk(each)]
        assert isinstance(node, dict)
        found = [node]
        return found + walk(node.get("children", [])) + walk(node.get("items", []))

    nodes = [node for node in walk(json.loads(msgspec.json.encode(tree_of(text)))) if isinstance(node, dict)]
    users = dict.fromkeys(node["user"] for node in nodes if node["type"] == "user")
    groups = dict.fromkeys(node["group"] for node in nodes if node["type"] == "group")
    kinds = {node["type"] for node in nodes}
    assert mentions_of(text) == Mentions(tuple(users), tuple(groups), "channel" in kinds, "here" in kinds)


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("code", ["`{}`", "```\n{}\n```", "    {}", "``a `{}` b``"])
def test_tokens_inside_code_address_nobody(token: str, code: str) -> None:
    assert mentions_of(code.format(token)) == NOBODY
    assert mentions_of(f"**{token}**") != NOBODY
    assert mentions_of(f"- > {token}") != NOBODY


@pytest.mark.parametrize(
    "wrong", ["<@usr_12>", f"<@{ANNA.upper()}>", "<!everyone>", f"\\<@{ANNA}>", f"<!group:{ANNA}>"]
)
def test_what_is_no_token_is_text(wrong: str) -> None:
    assert mentions_of(wrong) == NOBODY


@pytest.mark.parametrize(
    "href", ["javascript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc", "/relative"]
)
def test_links_lead_only_where_a_browser_may_follow(href: str) -> None:
    assert b"link" not in msgspec.json.encode(tree_of(f"[x]({href})"))


@pytest.mark.parametrize(
    "hostile",
    [
        "> " * 6_000,
        "- " * 6_000,
        "*" * 12_000,
        "[" * 12_000,
        "`" * 11_999 + "a",
        "**a" * 4_000,
        "[a](" * 3_000,
        "<" * 12_000,
        "~~" * 6_000,
        "a\n" * 6_000,
        f"<@{ANNA}>" * 290,
        "1. " * 4_000,
        "![" * 6_000,
        "<http:" * 2_000,
        "\\" * 12_000,
        "_a" * 6_000,
    ],
    ids=lambda text: text[:6],
)
def test_a_hostile_text_has_a_bounded_tree(hostile: str) -> None:
    tree = msgspec.json.encode(tree_of(hostile))
    assert len(tree) < 60 * MAX_NODES + 2 * len(hostile)
    depth = max_depth(json.loads(tree))
    assert depth <= 4 * MAX_NESTING
    mentions_of(hostile + "<@")


def max_depth(node: object) -> int:
    if isinstance(node, dict):
        return max((max_depth(each) for each in node.values()), default=0)
    if isinstance(node, list):
        return 1 + max((max_depth(each) for each in node), default=0)
    return 0


def test_a_text_of_too_many_nodes_is_shown_as_it_is() -> None:
    text = "*a* `b` " * MAX_NODES
    assert tree_of(text) == [Paragraph([Text(text)])]


def test_nothing_of_what_was_said_is_lost() -> None:
    text = "# Plan\n\n> quoted\n\n1. one\n2. two\n\n```py\ncode\n```\nand <b>html</b> & more"
    words = plain(tree_of(text))
    for word in ("Plan", "quoted", "one", "two", "code", "<b>html</b> & more"):
        assert word in words
