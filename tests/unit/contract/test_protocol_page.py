"""docs/protocol.md says what the contract says: every frame, event and code is there, and every example is real."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from services.contract import codes, events, frames, notices
from services.contract.internal import Problem

PAGE = Path(__file__).parents[3] / "docs" / "protocol.md"
FENCE = re.compile(r"^```json (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    kind: str
    text: str
    line: int


def read_examples() -> list[Example]:
    page = PAGE.read_text("utf-8")
    return [Example(m[1], m[2], page.count("\n", 0, m.start()) + 1) for m in FENCE.finditer(page)]


EXAMPLES = read_examples()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below this heading."""
    section = PAGE.read_text("utf-8").split(heading, 1)[1]
    table = re.search(r"^\|.*?\n\n", section, re.MULTILINE | re.DOTALL)
    assert table is not None
    lines = table[0].strip().splitlines()[2:]
    return [
        [cell.strip().strip("`") if i < 2 else cell.strip() for i, cell in enumerate(line.split("|")[1:-1])]
        for line in lines
    ]


def decode(example: Example) -> object:
    match example.kind:
        case "client":
            return frames.decode_client_frame(example.text)
        case "server":
            return frames.decode_server_frame(example.text)
        case "event":
            return events.read_event(example.text.encode())
        case "notice":
            return notices.read_shown_notice(example.text.encode())
        case "problem":
            return msgspec.json.decode(example.text, type=Problem)
    pytest.fail(f"line {example.line}: no example is labelled {example.kind}")


def every_json_fence_is_labelled() -> bool:
    return "```json\n" not in PAGE.read_text("utf-8")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"line {example.line}")
def test_every_example_is_what_the_contract_reads(example: Example) -> None:
    read = decode(example)
    assert not isinstance(read, events.UnknownEvent)
    if isinstance(read, frames.EventFrame):
        assert not isinstance(events.read_event(bytes(read.event)), events.UnknownEvent)
    if isinstance(read, frames.Refused | frames.Error | Problem):
        assert read.code in codes.ERRORS


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"line {example.line}")
def test_no_example_has_a_field_that_the_contract_does_not_know(example: Example) -> None:
    written = msgspec.json.decode(example.text)
    allowed = {"next", "request_id"} if example.kind == "problem" else set()  # REST says more (OpenAPI)
    known = msgspec.json.decode(msgspec.json.encode(decode(example)))
    assert set(written) - allowed <= set(known)


def test_there_is_an_example_of_every_frame_and_event() -> None:
    assert every_json_fence_is_labelled()
    shown = {type(decode(example)) for example in EXAMPLES}
    for union in (frames.ClientFrame, frames.ServerFrame, events.Event, notices.Notice):
        assert set(union.__args__) <= shown


def test_the_table_of_error_codes_is_the_contract() -> None:
    assert rows("### Errors") == [
        [e.code, str(e.status), "yes" if e.retry else "no", e.meaning, e.next] for e in codes.ERRORS.values()
    ]


def test_the_table_of_close_codes_is_the_contract() -> None:
    assert rows("### When the server closes") == [
        [str(c.code), c.name, "yes" if c.reconnect else "no", c.meaning, c.next]
        for c in codes.CLOSES.values()
    ]


def test_the_numbers_in_the_text_are_the_contract() -> None:
    page = PAGE.read_text("utf-8")
    assert f"1 to {events.MAX_TEXT:,} characters" in page
    assert f"up to {events.MAX_MEMBERS_PER_EVENT:,} people" in page
    assert f"Up to {frames.MAX_RESUME_CHANNELS:,} channels" in page
    assert f"{frames.MAX_MESSAGE_BYTES // 1024} KiB at most" in page
