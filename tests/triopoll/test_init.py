"""The package imports the server when it is first used, and not before."""

from __future__ import annotations

import subprocess
import sys


def run(program: str) -> str:
    """Run a program in a process that has imported nothing yet."""
    command = [sys.executable, "-W", "error", "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def test_the_package_alone_is_light() -> None:
    """The names are there, and Quart is not."""
    program = """
import sys, triopoll
assert triopoll.app is vars(triopoll)["app"]
print("quart" in sys.modules)
"""
    assert run(program) == "False"


def test_servers_find_the_application() -> None:
    """Hypercorn evaluates the name in the module's dict, others read the attribute."""
    program = """
import inspect
from hypercorn.utils import load_application
wrapped = load_application("triopoll:app", 0)
assert type(wrapped).__name__ == "ASGIWrapper"
import triopoll
assert inspect.iscoroutinefunction(triopoll.app.__call__)
print(type(triopoll.app.drain).__name__)
"""
    assert run(program) == "Drain"


def test_the_name_app_is_the_application_whatever_is_imported_first() -> None:
    """The submodule of that name does not replace it."""
    program = """
from triopoll.app import Triopoll, app as imported
import triopoll
assert triopoll.Triopoll is Triopoll
assert triopoll.app.services == imported.services
triopoll.app.debug = True
assert imported.debug
try:
    triopoll.nothing
except AttributeError as error:
    print(error)
"""
    assert run(program) == "module 'triopoll' has no attribute 'nothing'"
