"""Where a native stack lives: its folder, its ports, and what its processes are told."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from deploy.local.errors import StackError
from deploy.local.toolchain import CLONE
from deploy.settings import MOST_NODES, NODE_COUNT, Listener, Service, Site, listeners, local_site, node_count

HOME = "LOCKSTEP_STACK_HOME"
"""The variable that moves a stack's folder out of the clone."""

MARK = "LOCKSTEP_SUPERVISED_IN"
"""Carried by every process of a stack, with the stack's folder as its value; set by the supervisor and nobody else."""

UNUSABLE = "'\";#:,%\n"
"""Characters that a supervisord, broker or Java setting cannot hold inside a path."""


@dataclass(frozen=True, slots=True)
class Place:
    """`folder` holds everything the stack keeps; `ports` is by setting and complete; `extra` are LOCKSTEP_ variables
    of the products' own that the operator gave (in the environment or in `.env`)."""

    folder: Path
    ports: Mapping[str, int]
    extra: Mapping[str, str]

    @property
    def kafka(self) -> Path:
        return self.folder / "kafka"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def nodes(self) -> int:
        """How many channel servers there are."""
        return sum(service.is_node for service in self.site().services)

    @property
    def listeners(self) -> list[Listener]:
        return [listener for listener in listeners(MOST_NODES) if listener.setting in self.ports]

    def site(self) -> Site:
        return local_site(self.ports, str(self.secrets))

    def environment(self, service: Service) -> dict[str, str]:
        return {**self.site().environment(service), **self.extra}

    def remember(self) -> None:
        """Keep ports and variables for the commands that come later (`status`, `down`, the demo)."""
        text = json.dumps({"ports": dict(self.ports), "extra": dict(self.extra)}, indent=2)
        (self.run / "stack.json").write_text(text, "utf-8")


def folder() -> Path:
    """LOCKSTEP_STACK_HOME, else `.lockstep` in the clone. Raises StackError for a path that cannot work."""
    chosen = Path(os.environ.get(HOME) or CLONE / ".lockstep").absolute()
    for path in (chosen, CLONE):
        if found := sorted({character for character in str(path) if character in UNUSABLE}):
            raise StackError(
                f"the path {path} contains {' '.join(map(repr, found))}, which Java or the supervisor cannot take: "
                "move the clone to another folder."
            )
    return chosen


def given() -> dict[str, str]:
    """The operator's variables: the environment, then the clone's `.env`."""
    kept = {name: value for name, value in dotenv_values(CLONE / ".env").items() if value is not None}
    return {**kept, **os.environ}


def requested(nodes: int | None = None) -> Place:
    """The place as the operator's variables ask for it; `nodes`: with so many channel servers, whatever they say.

    Raises StackError for a port or a number of nodes that is none.
    """
    variables = given()
    try:
        nodes = node_count(variables) if nodes is None else nodes
    except ValueError as error:
        raise StackError(str(error)) from error
    ports = {}
    for listener in listeners(nodes):
        text = variables.get(listener.setting, str(listener.port))
        if not text.isdecimal() or not 0 < int(text) < 65536:
            raise StackError(f"{listener.setting}={text} is not a port: give a number from 1 to 65535.")
        ports[listener.setting] = int(text)
    _refuse_twins(ports)
    return Place(folder(), ports, _extra(variables, ports))


def remembered() -> Place | None:
    """The place as the last start left it; None when there was none."""
    home = folder()
    try:
        text = (home / "run" / "stack.json").read_text("utf-8")
    except OSError:
        return None
    known = json.loads(text)
    return Place(home, known["ports"], known["extra"])


def _refuse_twins(ports: Mapping[str, int]) -> None:
    first: dict[int, str] = {}
    for setting, port in ports.items():
        if port in first:
            raise StackError(
                f"{first[port]} and {setting} are both {port}: choose another port for one of them."
            )
        first[port] = setting


def _extra(variables: Mapping[str, str], ports: Mapping[str, int]) -> dict[str, str]:
    site = local_site(ports, "")
    ours = {name for service in site.services for name in site.environment(service)}
    ours -= {"LOCKSTEP_LOG_LEVEL"}
    ours |= {HOME, MARK, "LOCKSTEP_STACK", NODE_COUNT, *(each.setting for each in listeners(MOST_NODES))}
    return {
        name: value
        for name, value in sorted(variables.items())
        if name.startswith("LOCKSTEP_") and name not in ours and not set(value) & set("'\n")
    }
