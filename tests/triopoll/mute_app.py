"""The application behind a connection that takes no answer with a message.

It stands still between the pop and the answer, for as long as a test likes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import trio

from triopoll.app import Triopoll

_Message = MutableMapping[str, Any]

triopoll = Triopoll()


async def app(
    scope: _Message,
    receive: Callable[[], Awaitable[_Message]],
    send: Callable[[_Message], Awaitable[None]],
) -> None:
    async def mute_send(message: _Message) -> None:
        if scope["type"] == "http" and scope["path"] == "/poll/message":
            await trio.sleep_forever()
        await send(message)

    await triopoll(scope, receive, mute_send)  # type: ignore[arg-type]
