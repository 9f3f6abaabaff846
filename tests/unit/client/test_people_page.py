"""docs/people.md: every command on it can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer

from client.cli.main import app

PAGE = (Path(__file__).parents[3] / "docs" / "people.md").read_text("utf-8")
LINES = re.findall(r"^\$ (lockstep .*)$", PAGE, re.MULTILINE)


def test_there_are_commands() -> None:
    assert len(LINES) > 10


@pytest.mark.parametrize("line", LINES)
def test_the_command_is_there_and_takes_these_arguments(line: str) -> None:
    command: click.Command = typer.main.get_command(app)  # type: ignore[assignment]
    arguments = shlex.split(line)[1:]
    parent: click.Context | None = None
    while True:
        context = command.make_context(command.name, arguments, parent=parent)
        if not isinstance(command, click.Group):
            return
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        _, found, arguments = command.resolve_command(context, rest)
        assert found is not None
        command, parent = found, context
