"""Structured logs: one JSON object a line on stderr (or a readable line on a terminal).

Bind what identifies the work (`request_id`, `session`, `partition`) with `structlog.contextvars`; never log a token,
a password, or the text of a message.
"""

from __future__ import annotations

import logging
import sys

import structlog

from services.runtime.settings import LogSettings

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(process: str, settings: LogSettings) -> None:
    """Set up structlog and route the standard library's loggers through it. Called once, by a process's main."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
        if settings.log_format == "json"
        else [structlog.dev.ConsoleRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.log_level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [output]
    root.setLevel(LEVELS[settings.log_level])
    # At `info` it tells of every single look into a topic.
    chatty = settings.log_level == "info"
    logging.getLogger("aiokafka").setLevel(logging.WARNING if chatty else logging.NOTSET)
    structlog.contextvars.bind_contextvars(process=process)
