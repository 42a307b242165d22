"""Log lines: plain for people, or one JSON object each, with the ids of the request and session that they are about."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

_IDS = re.compile(r"\b(req|sesn|msgbatch|apikey)_[0-9A-Za-z]+\b")
_FIELDS = {"req": "request_id", "sesn": "session_id", "msgbatch": "batch_id", "apikey": "key_id"}
_SECRET = re.compile(r"\bsk-(?:fh|ant)-[0-9A-Za-z_-]{8,}|(?i:bearer)\s+[0-9A-Za-z._~+/-]{16,}")


def configure(form: str) -> None:
    """Send every log line of this process to standard error in that form, `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_json() if form == "json" else _Text("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def ids_in(text: str) -> dict[str, str]:
    """The ids that a line names, by what they are of: the first of each kind."""
    found: dict[str, str] = {}
    for one in _IDS.finditer(text):
        found.setdefault(_FIELDS[one[1]], one[0])
    return found


def without_secrets(text: str) -> str:
    """The text with everything that looks like a key taken out."""
    return _SECRET.sub("[key]", text)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def _json() -> logging.Formatter:
    import structlog

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _ids,
            structlog.processors.JSONRenderer(),
        ],
    )


def _ids(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What the line names by an id becomes a field of its own; nothing that looks like a key goes out."""
    for field, value in list(event.items()):
        if isinstance(value, str):
            event[field] = without_secrets(value)
    return {**ids_in(str(event.get("event"))), **event}
