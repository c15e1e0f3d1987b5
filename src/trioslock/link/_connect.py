"""From a way to reach a server to a connection that has shaken hands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ..transport import Transport
from ._link import Link
from ._session import Connector, Session


def connector(
    open_transport: Callable[[], Awaitable[Transport]], *, heartbeat: float
) -> Connector:
    """Return what a session needs to connect over transports.

    Args:
        open_transport: Opens a new one each time; raises a network error if it
            cannot.
        heartbeat: Seconds of silence before the peer is asked whether it lives.
    """

    async def connect(session: Session) -> Link:
        link = Link(await open_transport(), session, heartbeat=heartbeat)
        try:
            await link.shake_hands(session.settings.client_id)
        except BaseException:
            with trio.CancelScope(shield=True):
                await link.aclose()
            raise
        return link

    return connect
