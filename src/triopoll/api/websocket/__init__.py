"""``/v1/ws`` and ``/poll/ws``: handshake, session and frame codecs."""
