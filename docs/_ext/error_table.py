"""The directive ``error-table``: every exception of trioslock with its first sentence.

Read from the classes themselves, so that the table cannot lag behind them.
"""

from __future__ import annotations

import inspect
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from trioslock import _errors


class ErrorTable(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        lines = [
            ".. list-table::",
            "   :header-rows: 1",
            "",
            *row("Error", "Is a", "Raised when"),
        ]
        for error in in_order_of_depth():
            bases = ", ".join(f"``{base.__name__}``" for base in error.__bases__)
            lines += row(f"``{error.__name__}``", bases, first_sentence(error))
        content = StringList(lines, source="trioslock._errors")
        node = nodes.container()
        self.state.nested_parse(content, self.content_offset, node)
        return node.children


def row(*cells: str) -> list[str]:
    first, *rest = cells
    return [f"   * - {first}", *(f"     - {cell}" for cell in rest)]


def in_order_of_depth() -> list[type[Exception]]:
    """Return the exceptions as they stand in the module: each after its base."""
    return [
        member
        for member in vars(_errors).values()
        if inspect.isclass(member) and issubclass(member, Exception)
    ]


def first_sentence(error: type[Exception]) -> str:
    return " ".join((inspect.getdoc(error) or "").split("\n\n")[0].split())


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("error-table", ErrorTable)
    return {"parallel_read_safe": True}
