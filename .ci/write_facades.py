"""Write what `trioslock.aio` has in common with the trio API.

Usage: ``python .ci/write_facades.py``; with ``--check``, as in ``nox -s lint``, it only
looks whether the files are in date. Names, parameters and docstrings are those of the
trio classes, so that editors show them; the bodies call the trio object by way of a
portal. What asyncio tasks do in another way is written by hand in ``_base.py`` and
``_opening.py``.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trioslock import client, primitives

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "src" / "trioslock" / "aio"


@dataclass
class Facade:
    """A class to write.

    Attributes:
        native: The trio class.
        name: The name of the class that is written.
        bases: Its bases.
        skip: Methods that are written by hand or left out.
        attributes: Attributes of the trio object, each with its type and its sentence.
        inside: The name under which the package itself gets the trio object.
    """

    native: type
    name: str
    bases: tuple[str, ...] = ("Handle",)
    skip: frozenset[str] = frozenset()
    attributes: dict[str, tuple[str, str]] = field(default_factory=dict)
    inside: str | None = None


NOT_FOR_USERS = frozenset(
    {
        *("lost", "granted", "renew_from", "count_from", "share_used", "give_up"),
        *("confirm", "renewed", "begin_leave", "finish_release", "enter", "begin_body"),
        *("end_body", "end_body_in_trio", "with_outer", "unlock_of"),
        # By hand: what each kind does in its own way.
        *("release", "expires_at", "held"),
    }
)
NUMBER_OF = "{} all clients of the key must agree on it."
LOCKS = ("Lock", "RLock", "RWLock", "ReadSide", "WriteSide", "TreeLock", "TreeLeaf")
WRAPPED = (
    *LOCKS,
    *("Semaphore", "ConcurrencyLimiter", "TokenBucket", "Event", "GroupEvent"),
    *("Value", "Database", "Changes"),
)
"""Results that are wrapped as well."""

MODULES: dict[str, list[Facade]] = {
    "_plain": [
        Facade(
            primitives.Handle,
            "Handle",
            (),
            attributes={
                "key": ("bytes", "The 16 bytes of the key."),
                "db": ("int", "The database, 0 to 254."),
            },
        ),
        Facade(
            primitives.Grant,
            "GrantMethods",
            (),
            NOT_FOR_USERS,
            {
                "token": (
                    "int | None",
                    "The fencing token, larger than all before it; None without one.",
                )
            },
        ),
        Facade(
            primitives.Acquirable,
            "AcquirableMethods",
            skip=frozenset({"acquire", "try_acquire", "begins", "begin_attempt"}),
            attributes={
                "flags": ("Flags", "Flags of each request."),
                "priority": (
                    "int | None",
                    "Position in the queue, 0 to 255, highest first; None for the end.",
                ),
                "renew": (
                    "bool",
                    "Whether a lease of seconds is renewed while a body runs.",
                ),
            },
        ),
    ],
    "_handles": [
        Facade(primitives.ExclusiveHandle, "ExclusiveHandle", ("Acquirable",)),
        Facade(primitives.Lock, "Lock", ("ExclusiveHandle",)),
        Facade(primitives.RLock, "RLock", ("ExclusiveHandle",)),
        Facade(primitives.ReadSide, "ReadSide", ("Acquirable",)),
        Facade(primitives.WriteSide, "WriteSide", ("Acquirable",)),
        Facade(primitives.RWLock, "RWLock"),
        Facade(primitives.CountedHandle, "CountedHandle"),
        Facade(
            primitives.Semaphore,
            "Semaphore",
            ("CountedHandle", "Acquirable"),
            attributes={"permits": ("int", NUMBER_OF.format("How many there are;"))},
        ),
        Facade(
            primitives.ConcurrencyLimiter,
            "ConcurrencyLimiter",
            ("CountedHandle", "Acquirable"),
            attributes={
                "limit": ("int", NUMBER_OF.format("How many hold it at once;"))
            },
        ),
        Facade(
            primitives.TokenBucket,
            "TokenBucket",
            ("CountedHandle",),
            attributes={
                "tokens": ("int", NUMBER_OF.format("How many come in each period;")),
                "per": ("float", "Seconds of the period."),
                "sliding": ("bool", "Whether each token has a period of its own."),
            },
        ),
        Facade(
            primitives.Event,
            "Event",
            skip=frozenset({"begin_wait"}),
            attributes={
                "default": ("Default", "The state of an event that was never changed.")
            },
        ),
        Facade(
            primitives.GroupEvent,
            "GroupEvent",
            attributes={
                "member": ("int | None", "The number of the member, or None."),
                "version": ("int", "The latest version that this handle has seen."),
            },
        ),
        Facade(
            primitives.TreeLeaf,
            "TreeLeaf",
            ("Acquirable",),
            frozenset({"take", "link"}),
        ),
        Facade(primitives.TreeLock, "TreeLock", ("Acquirable",)),
        Facade(primitives.Value, "Value"),
    ],
    "_database": [
        Facade(
            client.Database,
            "Database",
            (),
            frozenset(),
            {
                "number": ("int", "0 to 254."),
                "flags": ("Flags", "The flags of handles that are made without flags."),
            },
            inside="trio_database",
        ),
        Facade(client.Client, "Client", ("Database",), frozenset({"write_by"})),
    ],
}

HEAD = '''"""{title}, as ``.ci/write_facades.py`` has written them."""

from __future__ import annotations
'''
SHARED = (
    "# ruff: noqa: D417 - the arguments that factories share are described once, at "
    "the class"
)
IMPORTS = {
    "_plain": """
from .. import primitives as native
from .._errors import LockLost, LossReason
from ..primitives import Flags, Holder, Lease
from ..protocol import Data, DataLike
from ._portal import Portal
""",
    "_handles": """
from .. import primitives as native
from ..primitives import Default
from ..protocol import Data, DataLike
from ..protocol import Value as PlainValue
from ._base import Acquirable
from ._plain import Handle
from ._portal import Portal
""",
    "_database": """
from .. import client as native
from ..client import Key
from ..link import Backoff, SessionStatistics
from ..primitives import (
    SESSION, DatabaseState, Default, Flags, HeldKey, Holder, Lease, Waiter,
)
from ..protocol import FOREVER
from ._handles import (
    ConcurrencyLimiter, Event, GroupEvent, Lock, RLock, RWLock, Semaphore, TokenBucket,
    TreeLock, Value,
)
from ._opening import Changes, Opening, Subscription
from ._portal import Portal
""",
}
MANAGER = "from contextlib import AbstractAsyncContextManager as Manager\n"
TITLES = {
    "_plain": "What handles and grants share",
    "_handles": "The primitives",
    "_database": "The factories",
}

# What docstrings say in other words.
WORDS = [
    (r"``trio\.(\w+)``", r"``\1``"),
    (r"\btrio\.(WouldBlock|ClosedResourceError|BusyResourceError)", r"\1"),
    ("trio's clock", "the loop's clock"),
]


def write_module(name: str) -> str:
    """Return the source of one module, formatted."""
    # D417: the arguments that factories share are described once, at the class.
    parts = [HEAD.format(title=TITLES[name]), IMPORTS[name]]
    parts += [write_class(facade) for facade in MODULES[name]]
    if name == "_database":
        parts.insert(1, MANAGER)
        (function,) = ast.parse(inspect.getsource(client.open_client)).body
        assert isinstance(function, ast.FunctionDef)
        parts.append(write_open(function))
    command = [sys.executable, "-m", "ruff"]
    path = str(FOLDER / f"{name}.py")
    source = "\n\n".join(parts)
    if name == "_database":
        source = source.replace("\nfrom __", f"\n{SHARED}\n\nfrom __", 1)
    for step in (
        [
            "check",
            "--fix",
            "--quiet",
            "--exit-zero",
            "--select=I,F401",
            "--stdin-filename",
            path,
            "-",
        ],
        ["format", "--quiet", "--stdin-filename", path, "-"],
    ):
        source = subprocess.run(
            [*command, *step], input=source, text=True, capture_output=True, check=True
        ).stdout
    return source


def write_class(facade: Facade) -> str:
    """Return the source of one class."""
    native = facade.native
    bases = f"({', '.join(facade.bases)})" if facade.bases else ""
    document = class_document(inspect.getdoc(native) or "")
    own = f"_{snake(facade.name)}"
    members = [*write_attributes(facade, own), *write_methods(facade, own)]
    lines = [f"class {facade.name}{bases}:", *docstring(document, 4), ""]
    if members or not facade.bases:
        call = (
            "super().__init__(portal, handle)"
            if facade.bases
            else ("self._portal = portal")
        )
        qualified = f"native.{native.__name__}"
        lines += [
            f"    def __init__(self, portal: Portal, handle: {qualified}) -> None:",
            f"        {call}",
            f"        self.{own} = handle",
            "",
        ]
        if not facade.bases:
            lines += [
                "    def __repr__(self) -> str:",
                f'        return f"<trioslock.aio: {{self.{own}!r}}>"',
                "",
            ]
        if facade.inside is not None:
            lines += [*write_inside(facade.inside, qualified, own), ""]
    return "\n".join([*lines, *members])


def write_inside(name: str, qualified: str, own: str) -> Iterator[str]:
    """Yield what the recipes use: the trio object and the way to it."""
    for attribute, kind, sentence, value in (
        ("portal", "Portal", "The way to its trio run.", "_portal"),
        (name, qualified, "The same for trio tasks.", own),
    ):
        yield textwrap.indent(
            f"@property\ndef {attribute}(self) -> {kind}:\n"
            f'    """{sentence}"""\n    return self.{value}\n',
            "    ",
        )


def write_attributes(facade: Facade, own: str) -> Iterator[str]:
    """Yield a property for each attribute of the trio object."""
    for name, (kind, sentence) in facade.attributes.items():
        yield textwrap.indent(
            f"@property\ndef {name}(self) -> {kind}:\n"
            f'    """{sentence}"""\n    return self.{own}.{name}\n',
            "    ",
        )


def write_methods(facade: Facade, own: str) -> Iterator[str]:
    """Yield the public methods and properties that the trio class itself defines."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(facade.native)))
    (definition,) = tree.body
    assert isinstance(definition, ast.ClassDef)
    for node in definition.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not (
            node.name.startswith("_") or node.name in facade.skip
        ):
            yield write_method(node, own)


def write_open(node: ast.FunctionDef) -> str:
    """Return the source of ``open_client``."""
    # It has no `self`: one is put in, to be taken out.
    node.args.args.insert(0, ast.arg("self"))
    parameters, arguments = parameters_of(node)
    lines = [
        f"def open_client({', '.join(parameters)}) -> Manager[Client, None]:",
        *docstring(ast.get_docstring(node) or "", 4),
        f"    return Opening(native.open_client({', '.join(arguments)}), Client)",
    ]
    return "\n".join(lines).replace("Backoff(),", "Backoff(),  # noqa: B008\n")


def write_method(node: ast.FunctionDef | ast.AsyncFunctionDef, own: str) -> str:
    """Return the source of one method, which calls that of the trio object."""
    waits = isinstance(node, ast.AsyncFunctionDef)
    document = ast.get_docstring(node) or ""
    assert node.returns is not None
    returns = ast.unparse(node.returns)
    if "ContextManager" in returns:
        returns = "Manager[Subscription, None]"
    is_property = any(ast.unparse(each) == "property" for each in node.decorator_list)
    target = f"self.{own}.{node.name}"
    parameters, arguments = parameters_of(node)
    result = call_of(target, arguments, returns, waits=waits)
    if is_property:
        result = target
    lines = ["@property"] if is_property else []
    prefix = "async " if waits else ""
    signature = ", ".join(["self", *parameters])
    lines.append(f"{prefix}def {node.name}({signature}) -> {returns}:")
    lines += docstring(document, 4)
    lines.append(f"    {'' if returns == 'None' else 'return '}{result}")
    return textwrap.indent("\n".join(lines), "    ") + "\n"


def call_of(target: str, arguments: list[str], returns: str, *, waits: bool) -> str:
    """Return the expression that calls the trio object."""
    if returns.startswith("Manager["):
        return f"Opening({target}({', '.join(arguments)}), Subscription)"
    if returns in WRAPPED:
        return f"{returns}(self._portal, {target}({', '.join(arguments)}))"
    passed = ", ".join([target, *arguments])
    if not waits:
        return f"self._portal.ask({passed})"
    return f"await self._portal.call({passed})"


def parameters_of(
    node: ast.FunctionDef | ast.AsyncFunctionDef,
) -> tuple[list[str], list[str]]:
    """Return the parameters without ``self``, and the arguments that pass them on."""
    given = node.args
    first = given.args[1:]
    defaults = [None] * (len(first) - len(given.defaults)) + list(given.defaults)
    parameters = [parameter(a, d) for a, d in zip(first, defaults, strict=True)]
    arguments = [each.arg for each in first]
    if given.vararg is not None:
        parameters.append(f"*{parameter(given.vararg, None)}")
        arguments.append(f"*{given.vararg.arg}")
    elif given.kwonlyargs:
        parameters.append("*")
    parameters += [
        parameter(a, d)
        for a, d in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    arguments += [f"{each.arg}={each.arg}" for each in given.kwonlyargs]
    return parameters, arguments


def parameter(argument: ast.arg, default: ast.expr | None) -> str:
    """Return a parameter as it is written."""
    assert argument.annotation is not None
    text = f"{argument.arg}: {ast.unparse(argument.annotation)}"
    return text if default is None else f"{text} = {ast.unparse(default)}"


def class_document(document: str) -> str:
    """Return a class's docstring without how it is made."""
    kept = [
        section
        for section in document.split("\n\n")
        if not section.startswith(("Args:", "Attributes:"))
    ]
    return "\n\n".join(kept)


def docstring(document: str, indent: int) -> list[str]:
    """Return a docstring in the words of one kind."""
    for old, new in WORDS:
        document = re.sub(old, new, document)
    text = f'"""{document}"""' if "\n" not in document else f'"""{document}\n"""'
    return textwrap.indent(text, " " * indent).split("\n")


def snake(name: str) -> str:
    """Return a class's name as that of an attribute."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def main() -> int:
    """Write all modules, or look whether they are in date.

    Returns:
        The exit code: 1 if one is not in date.
    """
    check = "--check" in sys.argv[1:]
    stale = False
    for name in MODULES:
        path, source = FOLDER / f"{name}.py", write_module(name)
        if not check:
            path.write_text(source)
        elif path.read_text() != source:
            stale = True
            print(f"{path.relative_to(ROOT)} is stale: python .ci/write_facades.py")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
