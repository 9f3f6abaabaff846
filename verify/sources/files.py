"""Recordings and exported history: JSON lines, read line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from verify.findings import CannotJudge
from verify.judge import HistoryEvent, Judge

SUFFIXES = (".jsonl", ".ndjson")


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Files as they are, folders as the *.jsonl and *.ndjson in them. Raises CannotJudge for what is neither."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
            if not found:
                raise CannotJudge(f"{path} holds no recordings (files named *.jsonl)")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise CannotJudge(f"{path}: there is no such file or folder")
    return files


def read_recordings(judge: Judge, files: Iterable[Path]) -> None:
    """Feed every file. A last line without its end, as a killed process leaves it, is left out."""
    for path in files:
        recording = judge.recording(str(path))
        for position, line in _lines(judge, path):
            recording.take(line, position)
        recording.finish()


def _lines(judge: Judge, path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            for position, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    judge.notes.append(f"{path}:{position} has no end and was left out")
                elif line.strip():
                    yield position, line
    except OSError as error:
        raise CannotJudge(f"{path}: {error.strerror}") from error


class _Item(msgspec.Struct):
    seq: int
    id: str
    sender: str
    at: int
    event: msgspec.Raw
    epoch: int | None = None
    channel: str | None = None


class _Page(msgspec.Struct):
    """An answer of `GET /v1/channels/{id}/events`, or one event of it with its epoch and channel."""

    epoch: int
    channel: str
    events: list[_Item] | None = None
    seq: int | None = None


_page = msgspec.json.Decoder(_Page)
_item = msgspec.json.Decoder(_Item)


def read_history_files(judge: Judge, files: Iterable[Path]) -> None:
    """Exported history: a line is an answer of the events endpoint as it came, or one event with epoch and channel.

    An export may begin anywhere, but must go on to the channel's head.
    """
    wanted = judge.channels()
    for path in files:
        readings: dict[str, int] = {}
        for position, line in _lines(judge, path):
            for event in _history_events(line, f"{path}:{position}"):
                if wanted is not None and event.channel not in wanted:
                    continue
                source = readings.get(event.channel)
                if source is None:
                    source = judge.history_begins(str(path), event.channel, from_start=False)
                    readings[event.channel] = source
                judge.history(source, event, position)


def _history_events(line: bytes, where: str) -> Iterator[HistoryEvent]:
    try:
        page = _page.decode(line)
        items = [_item.decode(line)] if page.events is None else page.events
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CannotJudge(f"{where} is not exported history: {error}") from error
    for item in items:
        yield HistoryEvent(
            page.epoch, page.channel, item.seq, item.sender, item.id, item.at, bytes(item.event)
        )
