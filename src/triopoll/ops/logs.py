"""Log lines: for people, or as JSON for machines; one event is one line in both.

What clients send gets into log lines (a path, the text of an error), so nothing in one
may look like the beginning of the next. A line never holds a message's data or a
ticket: neither a query nor a header nor a body is ever logged.
"""

from __future__ import annotations

import json
import logging
import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

__all__ = ["FORMATS", "Format", "fields_of", "set_up_logs"]

Format: TypeAlias = Literal["text", "json"]
FORMATS: tuple[Format, ...] = ("text", "json")

_TEXT = "%(asctime)s %(process)d %(levelname)s %(message)s"


def set_up_logs(form: Format) -> None:
    """Have everything from "info" on written to standard error.

    Args:
        form: "text" or "json".
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_JSON() if form == "json" else _Text(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def fields_of(**fields: object) -> Mapping[str, object]:
    """Return the argument `extra` of a log call that has fields of its own in JSON."""
    return {"triopoll": fields}


class _Text(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # its name
        return "".join(map(_printable, super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802  # its name
        return textwrap.indent(super().formatException(ei), "  ", lambda line: True)


class _JSON(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        fields: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        fields |= getattr(record, "triopoll", {})
        return json.dumps(fields, default=repr)


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
