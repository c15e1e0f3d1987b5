"""Long polling on slock events and Redis lists, served by Quart-Trio.

``triopoll serve`` serves it, and so does any ASGI server, on trio or on asyncio, that
is given ``triopoll:app``. `Triopoll` is the class of it: a Quart-Trio application, to
which routes and blueprints may be added. Nothing else is meant to be imported.

`triopoll.client` is used by programs that do not have the server's libraries, and
importing it imports this package. So the server is imported when it is first used.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import Triopoll as Triopoll
    from .app import app as app

__all__ = ["Triopoll", "app"]


class _LazyApp:
    """Stands for the application until it is used.

    A module's `__getattr__` would not do: Hypercorn looks for the application in the
    `__dict__` of this module.
    """

    __slots__ = ()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve what an ASGI server asks for."""
        await _import_app()(scope, receive, send)

    def __getattr__(self, name: str) -> Any:
        return getattr(_import_app(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(_import_app(), name, value)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        # The import system binds the submodule triopoll.app to its name when it is
        # imported. Here the name is the application's.
        if name != "app" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


def _import_app() -> Any:
    from .app import app as imported  # noqa: PLC0415  # see the head of the file

    return imported


def __getattr__(name: str) -> Any:
    if name != "Triopoll":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _import_app()
    return sys.modules[f"{__name__}.app"].Triopoll


if not TYPE_CHECKING:
    app = _LazyApp()
    sys.modules[__name__].__class__ = _Package
