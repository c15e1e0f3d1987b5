"""What a server allows one connection, and all of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of a server; the engine has its own (``EngineLimits``).

    Attributes:
        connections: Open at once; one more is closed as soon as it is accepted.
        output_bytes: What is kept for a peer that does not read; with more it is cut.
        send_seconds: How long a peer may take to read 64 KiB before it is cut.
        first_frame_seconds: How long a first command may be incomplete.
        waiting_input_bytes: What is read ahead of a text command that waits.
        drain_seconds: How long connections go on after a shutdown has begun.
    """

    connections: int = 10_000
    output_bytes: int = 64 * 1_048_576
    send_seconds: float = 30.0
    first_frame_seconds: float = 10.0
    waiting_input_bytes: int = 65_536
    drain_seconds: float = 1.0
