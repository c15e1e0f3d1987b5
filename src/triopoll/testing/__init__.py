"""The service in a thread of the test process, for tests of what uses it.

With pytest, ``triopoll_server`` is a fixture. Without::

    with open_settings() as settings:
        with open_triopoll_server(Triopoll(settings), settings) as server:
            server.publish("orders.17", "paid")
"""

from __future__ import annotations

from .server import API_KEY, TriopollServer, open_settings, open_triopoll_server

__all__ = ["API_KEY", "TriopollServer", "open_settings", "open_triopoll_server"]
