"""``/poll/event`` and ``/poll/message``: parameters, endpoints and replies."""
