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
from deploy.control import Control
from deploy.demo.run import Plan, play
from deploy.demo.second_act import holds, play_second_act, print_scenes
from deploy.demo.table import print_outcome
from deploy.demo.waiting import DemoFailed
from deploy.local.errors import StackError
from verify.findings import CannotJudge


def main(arguments: list[str] | None = None) -> int:
    """0: nothing lost, doubled or out of order, and every scene held. 1: not so. 2: it could not be played or judged."""
    plan = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m deploy.demo",
        description="Two acts on the running stack: a conversation with things stopped and killed in the middle, and "
        "the proof; then all that people do with messages and with one another, and who sees it.",
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
    parser.add_argument("--act", type=int, choices=(1, 2), help="only this one")
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
        hand = control.current()
        good = True
        if options.act != 2:
            outcome = asyncio.run(play(hand, plan, folder, console))
            console.print()
            print_outcome(outcome, console)
            keep = options.keep is not None or not outcome.good
            good = outcome.good
        if options.act != 1 and good:
            console.print()
            good = asyncio.run(_second_act(hand, console))
        return 0 if good else 1
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


async def _second_act(hand: Control, console: Console) -> bool:
    scenes = await play_second_act(await hand.addresses(), console)
    console.print()
    print_scenes(scenes, console)
    return holds(scenes)


if __name__ == "__main__":
    sys.exit(main())
