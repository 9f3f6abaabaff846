"""Arguments and options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Named = Annotated[str, typer.Argument(metavar="CHANNEL", help="Name (with or without #) or id.")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="The message's number.")]
Person = Annotated[str, typer.Argument(metavar="PERSON", help="Name, e-mail address or id.")]
People = Annotated[list[str], typer.Argument(metavar="PERSON", help="Names, e-mail addresses or ids.")]
