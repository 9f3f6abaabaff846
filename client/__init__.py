"""The Python client: a library (`LockstepClient`) and the `lockstep` command.

What decides lives in modules without I/O (`streams`, `sends`, `session`, `backoff`): clock and randomness are passed
in, and the tests drive them against a model of the server. What moves bytes lives around them (`connection`,
`rest`, `client`). Of the rest of the project only
`services.contract`, `services.projection` and `services.markup` may be imported here.
"""

from client.client import LockstepClient
from client.connection import State
from client.errors import (
    ApiError,
    ClientClosed,
    InvalidMessage,
    LockstepError,
    NotLoggedIn,
    SendRefused,
    SessionEnded,
    UnexpectedReply,
    Unreachable,
)
from client.model import (
    Ack,
    CatchingUp,
    ChannelEvent,
    Closed,
    Gap,
    MessageEvent,
    Noticed,
    NoticeGap,
    Opened,
    Presence,
    Reset,
    Shown,
    Typing,
)
from client.realtime import Realtime
from client.recorder import Recorder
from client.rest import RestClient
from client.timeline import Timeline
from client.tokens import MemoryTokens, Tokens, TokenStore

__all__ = [
    "Ack",
    "ApiError",
    "CatchingUp",
    "ChannelEvent",
    "ClientClosed",
    "Closed",
    "Gap",
    "InvalidMessage",
    "LockstepClient",
    "LockstepError",
    "MemoryTokens",
    "MessageEvent",
    "NotLoggedIn",
    "NoticeGap",
    "Noticed",
    "Opened",
    "Presence",
    "Realtime",
    "Recorder",
    "Reset",
    "RestClient",
    "SendRefused",
    "SessionEnded",
    "Shown",
    "State",
    "Timeline",
    "TokenStore",
    "Tokens",
    "Typing",
    "UnexpectedReply",
    "Unreachable",
]
