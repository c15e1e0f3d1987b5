"""Log lines, as text or as JSON; one event is one line in both.

What clients send gets into log lines (a path, the text of an error), so control
characters are escaped: nothing may look like the beginning of another line. A line
never holds a message's data or a ticket: no query, header or body is logged.
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
    """Write what is logged at "info" or above to standard error.

    Args:
        form: "text" or "json".
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_JSON() if form == "json" else _Text(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def fields_of(**fields: object) -> Mapping[str, object]:
    """Return the argument `extra` of a log call that adds fields to its JSON line."""
    return {"triopoll": fields}


class _Text(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # inherited
        return "".join(map(_printable, super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802  # inherited
        # A traceback is several lines; indented, none can be taken for a new record.
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
