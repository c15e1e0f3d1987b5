"""What the tests of triopoll share."""

from collections.abc import Callable

import trio


async def eventually(condition: Callable[[], object], limit: float = 5) -> None:
    """Return once the condition holds; fail if it does not within the limit.

    For states of other processes, which cannot wake us.
    """
    with trio.fail_after(limit):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)
