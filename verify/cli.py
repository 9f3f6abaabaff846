"""`lockstep verify`, also `python -m verify`."""

from __future__ import annotations

import asyncio
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer

from verify.findings import CannotJudge

app = typer.Typer(name="verify", add_completion=False)


class Exit(IntEnum):
    HOLDS = 0
    BROKEN = 1
    CANNOT_JUDGE = 2


@app.command()
def verify(
    recordings: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Clients' recordings: files of JSON lines, or folders of *.jsonl.", show_default=False
        ),
    ] = None,
    history: Annotated[
        list[Path] | None,
        typer.Option(
            help="Exported REST history (answers of /v1/channels/ID/events, one a line). Repeatable."
        ),
    ] = None,
    rest: Annotated[
        str | None, typer.Option(help="Read history live from this web_app, such as http://127.0.0.1:8000.")
    ] = None,
    token: Annotated[
        list[str] | None,
        typer.Option(
            help="An access token to read history with. Repeatable.", envvar="LOCKSTEP_VERIFY_TOKEN"
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            help="PostgreSQL, as postgresql://user@host:port/name; the password also by PGPASSWORD or a passfile.",
            envvar="LOCKSTEP_VERIFY_DATABASE",
        ),
    ] = None,
    kafka: Annotated[
        str | None, typer.Option(help="Kafka's bootstrap servers, such as 127.0.0.1:9092.")
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(help="Judge only this channel. Repeatable. Default: those of the recordings, or all."),
    ] = None,
    caught_up: Annotated[
        bool,
        typer.Option(
            "--caught-up",
            help="The clients were given time to catch up: each must have been shown everything.",
        ),
    ] = False,
    all_senders_recorded: Annotated[
        bool,
        typer.Option(
            "--all-senders-recorded", help="The recorded people used no other client: nothing else is theirs."
        ),
    ] = False,
    settle: Annotated[
        float,
        typer.Option(
            help="Without --caught-up: seconds in which an acknowledged message must have reached everybody.",
            min=0,
        ),
    ] = 5.0,
    wait: Annotated[
        float, typer.Option(help="Seconds that PostgreSQL and history may take to catch up.", min=0)
    ] = 15.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Print without colours.")] = False,
) -> None:
    """Judge whether a run kept its promises: every acknowledged message everywhere, once, in one order.

    Compares what clients recorded, REST history, PostgreSQL and the raw Kafka log, any subset of them, and trusts
    none. Exits 0 when the order holds, 1 when it is broken, 2 when it cannot tell.
    """
    # The clients of Kafka and PostgreSQL, for this command alone of all that `lockstep` has.
    from rich.console import Console  # noqa: PLC0415

    from verify import report  # noqa: PLC0415
    from verify.judge import Terms  # noqa: PLC0415
    from verify.run import Sources, judge  # noqa: PLC0415

    sources = Sources(
        recordings=recordings or [],
        history=history or [],
        rest=rest,
        tokens=token or [],
        database=database,
        kafka=kafka,
        wait_s=wait,
    )
    terms = Terms(
        caught_up=caught_up,
        all_senders_recorded=all_senders_recorded,
        settle_ms=int(settle * 1000),
        channels=frozenset(channel) if channel else None,
    )
    try:
        verdict = asyncio.run(judge(sources, terms))
    except CannotJudge as reason:
        typer.echo(f"cannot judge: {reason}", err=True)
        raise typer.Exit(Exit.CANNOT_JUDGE) from reason
    if json:
        typer.echo(report.as_json(verdict))
    else:
        console = Console(no_color=plain, force_terminal=False if plain else None)
        console.width = max(
            console.width, report.WIDTH
        )  # a wrapped line can be read, a cut-off number cannot
        report.print_report(verdict, console)
    raise typer.Exit(Exit.HOLDS if verdict.holds else Exit.BROKEN)
