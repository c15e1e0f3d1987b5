"""The limit of open files: raised as far as needed, and a warning where it is low."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

# The hard limit of a process cannot be raised again, so this is one of its own.
TRY = """
import logging, resource, sys
from triopoll.server.descriptors import allow_descriptors
soft, hard, connections = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
allow_descriptors(connections)
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def limits_after(soft: int, hard: int, connections: int) -> tuple[list[int], str]:
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(soft), str(hard), str(connections)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(number) for number in done.stdout.split()], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("soft", "connections", "after"),
    [(100, 300, 500), (600, 300, 600), (100, 800, 1000)],
)
def test_the_soft_limit_is_raised(soft: int, connections: int, after: int) -> None:
    """As far as the connections need, never lowered, and without a word."""
    assert limits_after(soft, 1000, connections) == ([after, 1000], "")


@pytest.mark.slow
def test_a_hard_limit_that_is_too_low_is_a_warning() -> None:
    """It says how many there are, how many are needed, and what to do."""
    limits, log = limits_after(100, 1000, 5000)
    assert limits == [1000, 1000]
    assert log == (
        "WARNING this process may open 1000 files, too few for 5000 "
        "connections: raise the limit (LimitNOFILE, ulimit -n), or lower "
        "--max-connections\n"
    )


def test_a_limit_that_is_high_enough_is_left_alone() -> None:
    """Of this process too."""
    from triopoll.server.descriptors import allow_descriptors

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    allow_descriptors(1)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_how_many_there_will_be() -> None:
    """As many as are needed where the hard limit allows it, and no more than that."""
    from triopoll.server.descriptors import allowed_descriptors

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert allowed_descriptors(1) >= soft
    assert hard == resource.RLIM_INFINITY or allowed_descriptors(hard) == hard
