"""The bounds of a server and of its connections."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of a server; the engine has its own (``EngineLimits``).

    Attributes:
        connections: Open at once; one more is closed as soon as it is accepted.
        output_bytes: Kept for a peer that does not read; with more it is cut.
        send_seconds: Time that a peer may take to read 64 KiB before it is cut.
        first_frame_seconds: Time that the first command may be incomplete.
        waiting_input_bytes: Read ahead while a text command waits.
        drain_seconds: Time that connections go on after a shutdown has begun.
    """

    connections: int = 10_000
    output_bytes: int = 64 * 1_048_576
    send_seconds: float = 30.0
    first_frame_seconds: float = 10.0
    waiting_input_bytes: int = 65_536
    drain_seconds: float = 1.0
