"""Limits, deadlines and drain times of the server, in one frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ServerSettings"]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Hold the limits, deadlines and drain times of one server process.

    Sizes are bytes, times are seconds. No setting limits how long the application may
    take to answer: parked polls are the normal case, and they end by themselves.

    Attributes:
        max_connections: Connections beyond it are answered 503 and closed.
        max_head_bytes: Request line and headers together.
        max_headers: Header lines in one request.
        max_ahead_bytes: Pipelined bytes kept while a request is being served; a
            client that sends more is cut.
        max_unread_bytes: Answers that wait in the process to be read by slow clients,
            all together. Beyond it the slowest clients are cut.
        keep_alive: Idle time between two requests. Longer than that of a proxy in front
            (nginx: 60 s): if both close at once, a request of the proxy is lost.
        head_deadline: From the first byte of a request to the end of its headers.
        body_deadline: From the end of the headers to the end of the body.
        write_deadline: For the client to read one write.
        linger: For the client to close after the last answer, before the server does.
        websocket_max_message_bytes: One message, all its fragments together.
        websocket_ping: Idle time after which a ping is sent.
        websocket_pong_deadline: From that ping to the next byte of the client.
        drain_delay: From SIGTERM, with readiness off, until listeners are closed.
        drain_window: Over which parked waits are released.
        drain_grace: After the window, until the clients that are left are cut.
        access_log: Whether each request is logged.
    """

    max_connections: int = 20_000
    max_head_bytes: int = 16 * 1024
    max_headers: int = 100
    max_ahead_bytes: int = 64 * 1024
    max_unread_bytes: int = 64 * 1024 * 1024
    keep_alive: float = 75.0
    head_deadline: float = 10.0
    body_deadline: float = 30.0
    write_deadline: float = 10.0
    linger: float = 1.0
    websocket_max_message_bytes: int = 64 * 1024
    websocket_ping: float = 20.0
    websocket_pong_deadline: float = 10.0
    drain_delay: float = 5.0
    drain_window: float = 10.0
    drain_grace: float = 2.0
    access_log: bool = False
