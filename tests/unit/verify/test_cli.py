"""`python -m verify` on files: figures, evidence, and the three exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from tests.unit.verify.world import World
from verify.cli import app


@pytest.fixture
def world() -> World:
    return World(Random(7), 80)


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    (tmp_path / "recordings").mkdir()
    for name, lines in world.recordings.items():
        write(tmp_path / "recordings" / name, lines)
    return tmp_path


def write(path: Path, lines: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")


def write_history(world: World, path: Path) -> None:
    """As answers of the events endpoint, two events each, one answer a line."""
    events = next(events for events in world.history.values() if events)
    pages = []
    for start in range(0, len(events), 2):
        for channel in {event.channel for event in events[start : start + 2]}:
            page = [e for e in events[start : start + 2] if e.channel == channel]
            items = [
                {"seq": e.seq, "id": e.id, "sender": e.sender, "at": e.at, "event": json.loads(e.body)}
                for e in page
            ]
            pages.append({"epoch": 1, "channel": channel, "head": 9, "events": items, "has_more_after": True})
    write(path, pages)


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_a_correct_run_exits_0_and_says_what_was_judged(folder: Path, world: World) -> None:
    write_history(world, folder / "history.jsonl")
    code, output = run(
        folder / "recordings",
        "--history",
        folder / "history.jsonl",
        "--caught-up",
        "--all-senders-recorded",
        "--plain",
    )
    assert code == 0, output
    assert "The order holds." in output
    assert f"{sum(len(events) for events in world.events.values())}" in output
    for name in ("validity", "agreement", "integrity", "total order"):
        assert name in output


def test_a_broken_run_exits_1_and_names_the_line(folder: Path, world: World) -> None:
    name, lines = max(world.recordings.items(), key=lambda item: len(item[1]))
    index = next(i for i, line in enumerate(lines) if line["kind"] == "event" and line["via"] == "live")
    lines[index] = {**lines[index], "event": {"type": "message.posted", "text": "forged [red]x[/]"}}
    write(folder / "recordings" / name, lines)
    write_history(world, folder / "history.jsonl")
    code, output = run(folder / "recordings", "--history", folder / "history.jsonl", "--plain")
    assert code == 1, output
    assert "BROKEN" in output
    code, output = run(folder / "recordings", "--history", folder / "history.jsonl", "--json")
    assert code == 1
    told = json.loads(output)
    assert told["holds"] is False
    assert told["properties"]["agreement"] is False
    evidence = [where for finding in told["findings"] for where in finding["evidence"]]
    assert any(where.endswith(f"{name}:{index + 1}") for where in evidence)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "no recordings"),
        ("", "nothing to judge"),
        ('{"kind":"event","client":"a","user":"u","t":1}\n', "bad.jsonl:1 is not a line of a recording"),
        ("not json\n", "bad.jsonl:1"),
    ],
)
def test_what_cannot_be_judged_exits_2(tmp_path: Path, content: str | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "bad.jsonl").write_text(content)
    code, output = run(tmp_path)
    assert code == 2
    assert sentence in " ".join(output.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "nothing to judge"),
        (("/nowhere.jsonl",), "no such file"),
        (("--rest", "http://127.0.0.1:9"), "access token"),
        (("--rest", "http://127.0.0.1:9", "--token", "x"), "GET /v1/me"),
        (("--database", "postgresql://nobody@127.0.0.1:9/none"), "PostgreSQL: cannot connect"),
        (("--kafka", "127.0.0.1:9"), "Kafka at 127.0.0.1:9"),
    ],
)
def test_a_source_that_cannot_be_read_exits_2(arguments: tuple[str, ...], sentence: str) -> None:
    code, output = run(*arguments)
    assert code == 2
    assert sentence in " ".join(output.split())


def test_a_line_cut_off_by_a_kill_is_left_out_and_said_so(folder: Path, world: World) -> None:
    path = folder / "recordings" / next(iter(world.recordings))
    path.write_bytes(path.read_bytes() + b'{"kind":"even')
    code, output = run(folder / "recordings", "--plain")
    assert code == 0, output
    assert "has no end and was left out" in " ".join(output.split())


def test_kinds_that_tell_nothing_are_passed_over(folder: Path, world: World) -> None:
    path = folder / "recordings" / next(iter(world.recordings))
    path.write_bytes(b'{"kind":"typing","whatever":1}\n' + path.read_bytes())
    code, output = run(folder / "recordings")
    assert code == 0, output
