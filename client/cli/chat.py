"""`lockstep chat`."""

from __future__ import annotations

from typing import Annotated

import typer

from client.cli.arguments import Named
from client.cli.context import context_of, run
from client.cli.messages import Recording, recorder_for


def chat(
    context: typer.Context,
    channel: Named,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, max=200, help="How much history to show.")
    ] = 20,
    record: Recording = None,
) -> None:
    """Talk in a channel: shows what happened before and what happens, and sends what you type.

    Each message is shown with the number that it has for everybody. When a server goes away, the conversation goes on
    with another one by itself; what you typed meanwhile is sent then.

    Examples:

        lockstep chat general

        lockstep chat @grace

        echo "the build is green" | lockstep chat builds
    """
    here = context_of(context)

    # Drawing on a terminal takes as long to load as all that another command needs.
    from client.cli.conversation import converse  # noqa: PLC0415

    async def work() -> None:
        with recorder_for(record, here) as recorder:
            await converse(here, channel, limit, recorder)

    run(work())
