"""The search for leaked secrets finds them."""

from __future__ import annotations

import logging
import sys

import pytest
from tests.triopoll.leaks import DATA, LeakWatch, leaked, note_secrets
from tests.triopoll.service import Process


def test_secrets_are_noted_and_found() -> None:
    """In text, in arguments, in extra fields and in tracebacks."""
    secret = "S-" + "e" * 20
    note_secrets(b'{"poll_secret":"%b"}' % secret.encode())
    assert leaked(f"a {secret} b {DATA}") == {secret, DATA}
    watch = LeakWatch()
    logger = logging.getLogger("test.leaks")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(watch)
    logger.info("nothing")
    assert watch.found == []
    logger.info("text %s", secret)
    logger.info("extra", extra={"triopoll": {"path": secret}})
    try:
        raise ValueError(secret)
    except ValueError:
        logger.exception("error")
    assert len(watch.found) == 3


def test_a_process_that_writes_a_secret_fails_its_test(
    free_port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """When it ends, to standard output or to standard error."""
    code = (
        f"import socket, sys, time; print({DATA!r}, file=sys.stderr, flush=True);"
        "s = socket.create_server(('127.0.0.1', PORT)); time.sleep(60)"
    )
    process = Process(["timeit", "-n", "1", "-r", "1", code], {}, free_port)
    process.start()
    with pytest.raises(AssertionError, match="a log has a secret"):
        process.kill()
    assert DATA in capfd.readouterr().err
    assert sys.executable
