"""What a client can do wrong, as exceptions."""

from triopoll.server.errors import HttpError, PeerGone


def test_an_http_error_is_an_answer() -> None:
    """Its status and its text are what the client gets."""
    error = HttpError(431, "the request has too many headers")
    assert (error.status, str(error)) == (431, "the request has too many headers")


def test_a_client_that_left_is_an_os_error() -> None:
    """ASGI specifies that `send` raises one."""
    assert issubclass(PeerGone, OSError)
