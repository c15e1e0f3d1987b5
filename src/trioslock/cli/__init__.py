"""The command ``trioslock``: one module for each family of commands."""

# General layout: the command, and what the command `triopoll` has in common with it.
from ._common import CONFLICT as CONFLICT
from ._common import DEFAULT as DEFAULT
from ._common import NOT_STARTED as NOT_STARTED
from ._common import UNREACHABLE as UNREACHABLE
from ._common import USAGE as USAGE
from ._common import Commands as Commands
from ._common import fail as fail
from ._common import run as run
from ._common import seconds as seconds
from ._common import whole_number as whole_number
from ._completion import add_completion as add_completion
from ._info import Node as NodeInfo
from ._info import ask_node as ask_node
from ._main import main as main
from ._main import make_parser as make_parser
from ._output import add_json as add_json
from ._output import safe as safe
from ._output import show as show
from ._output import show_bytes as show_bytes
from ._output import show_json as show_json
from ._output import shown as shown
from ._snapshot import replica_set as replica_set
from ._view import Table as Table

__all__ = [
    "main",
    "make_parser",
    "CONFLICT",
    "DEFAULT",
    "NOT_STARTED",
    "UNREACHABLE",
    "USAGE",
    "Commands",
    "NodeInfo",
    "Table",
    "add_completion",
    "add_json",
    "ask_node",
    "fail",
    "replica_set",
    "run",
    "safe",
    "seconds",
    "show",
    "show_bytes",
    "show_json",
    "shown",
    "whole_number",
]
