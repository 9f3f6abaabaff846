"""`python -m deploy.demo`."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from client import LockstepError
from deploy import control
from deploy.demo.conversation import DemoFailed
from deploy.demo.run import Plan, play
from deploy.demo.table import print_outcome
from deploy.local.errors import StackError
from verify.findings import CannotJudge


def main(arguments: list[str] | None = None) -> int:
    """0: nothing lost, doubled or out of order. 1: something was. 2: it could not be played or judged."""
    plan = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m deploy.demo",
        description="A conversation on the running stack, with things stopped and killed in the middle, and the proof.",
    )
    parser.add_argument(
        "--clients", type=int, default=plan.clients, help="how many people talk (%(default)s)"
    )
    parser.add_argument("--messages", type=int, default=plan.messages, help="how many messages (%(default)s)")
    parser.add_argument("--seconds", type=float, default=plan.talk_s, help="how long they talk (%(default)s)")
    parser.add_argument("--seed", type=int, default=plan.seed, help="another seed, another conversation")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the recordings here (an empty folder)"
    )
    options = parser.parse_args(arguments)
    if options.clients < 2 or options.messages < 1 or options.seconds <= 0:
        parser.error("at least two clients, one message, and some time")
    plan = Plan(clients=options.clients, messages=options.messages, talk_s=options.seconds, seed=options.seed)
    console = Console(highlight=False)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="lockstep-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder} is not empty")
    keep = True
    try:
        outcome = asyncio.run(play(control.current(), plan, folder, console))
        console.print()
        print_outcome(outcome, console)
        keep = options.keep is not None or not outcome.good
        return 0 if outcome.good else 1
    except (StackError, LockstepError, DemoFailed, CannotJudge) as error:
        console.print(f"[red]error:[/] {error}")
        return 2
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    finally:
        if not any(folder.iterdir()) or not keep:
            shutil.rmtree(folder)
        else:
            console.print(f"The recordings are in {folder}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
