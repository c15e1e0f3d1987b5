"""The examples for blocking code run as they are in the documentation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trioslock.testing import SlockServer, open_slock_server

FOLDER = Path(__file__).parents[2] / "examples" / "blocking"
BOOK = """
import sys
import django_app
from django.conf import settings
import django
from django.test import Client
from locks import client

settings.SLOCK_URL = sys.argv[1]
django.setup()
print(Client().get("/seats/12a/anna").json())
client(sys.argv[1]).lock("seat:12a").acquire()
print(Client().get("/seats/12a/otto").status_code)
"""
PREFORK = """
import os, sys
from locks import client

mine = client(sys.argv[1])
child = os.fork()
if child == 0:
    assert client(sys.argv[1]) is not mine
    client(sys.argv[1]).ping()
    client(sys.argv[1]).close()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
mine.ping()
"""


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", *arguments],
        cwd=FOLDER,
        env={**os.environ, "PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


@pytest.mark.slow
def test_the_examples_run() -> None:
    with open_slock_server() as server:
        assert run("report.py", server.url).splitlines()[-1] == "page 2"
        assert run("workers.py", server.url) == "140\n"
        assert run("-c", BOOK, server.url) == ("{'seat': '12a', 'user': 'anna'}\n503\n")
        forked(server)


def forked(server: SlockServer) -> None:
    """In a child the client is another one."""
    if hasattr(os, "fork"):
        assert run("-c", PREFORK, server.url) == "0\n"
