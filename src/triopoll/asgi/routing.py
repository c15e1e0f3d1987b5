"""Find the route of a path: by its exact text, or by a template with parameters.

A template is a path in which some segments are `{NAME}`. A parameter matches one
segment that is not empty; one with the name `path` matches all that is left, slashes
included. A route is named by its template, also where requests are
counted: a label of a metric needs a bounded number of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .messages import Request

__all__ = ["RouteTable"]

_PARAMETER = re.compile(r"\{(\w+)\}")
# What a parameter of this name matches, unlike the others.
_WHAT = {"path": r"[\s\S]+"}


class RouteTable:
    """The paths and templates of an application."""

    def __init__(self, templates: Iterable[str]) -> None:
        """Prepare to find these.

        Args:
            templates: Where several match a path, the first one is found; one without
                parameters is found before all others.
        """
        self._exact = frozenset(templates)
        self._patterns = [
            (template, re.compile(_expression(template)))
            for template in templates
            if _PARAMETER.search(template)
        ]

    def __repr__(self) -> str:
        return f"<RouteTable: {len(self._exact)} routes>"

    def resolve(self, request: Request) -> str | None:
        """Return the template of a request's path, None without any.

        What the parameters of the template match is noted in the request.
        """
        path = request.path
        if path in self._exact:
            return path
        for template, pattern in self._patterns:
            if match := pattern.fullmatch(path):
                request.path_values = match.groupdict()
                return template
        return None


def _expression(template: str) -> str:
    """Return the regular expression of a template."""
    # Names and the text between them, in turn.
    parts = _PARAMETER.split(template)
    texts, names = parts[::2], parts[1::2]
    groups = [f"(?P<{name}>{_WHAT.get(name, '[^/]+')})" for name in names] + [""]
    pairs = zip(map(re.escape, texts), groups, strict=True)
    return "".join(text + group for text, group in pairs)
