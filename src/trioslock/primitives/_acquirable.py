"""What all primitives share that hand out grants: acquire, try, ``async with``.

A handle holds no state of the lock itself, so it may be shared by any number
of tasks. The one thing it remembers is which grant a task's ``async with`` has
entered, so that the exit finds it.
"""

from __future__ import annotations

from types import TracebackType

import trio
from trio.lowlevel import Task, current_task, enable_ki_protection

from ..link import Requester
from ..protocol import CommandType, Data, LockCommand, ResultCode
from ._grant import Grant
from ._lease import Lease, wire_lease
from ._results import refusal

_LOCK = int(CommandType.LOCK)
_OK = int(ResultCode.SUCCED)
_REFUSED = int(ResultCode.TIMEOUT)


class Acquirable:
    """A handle whose grants allow ``count + 1`` holders of ``rcount + 1`` levels.

    Args:
        requester: Carries the commands.
        key: Exactly 16 bytes.
        db: Database, 0 to 254.
        lease: How long a grant lasts.
        count: One less than the number of holders, as on the wire.
        rcount: One less than the number of levels a holder may have.
    """

    def __init__(
        self,
        requester: Requester,
        key: bytes,
        *,
        db: int,
        lease: Lease,
        count: int = 0,
        rcount: int = 0,
    ) -> None:
        self.key = key
        self.db = db
        self._requester = requester
        self._lease = lease
        self._wire_lease = wire_lease(requester, lease)
        self._count = count
        self._rcount = rcount
        self._entered: dict[Task, Grant] = {}

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} on key {self.key.hex()} of database {self.db}, "
            f"lease {self._lease!r}>"
        )

    @enable_ki_protection
    async def acquire(self, *, data: Data | None = None) -> Grant:
        """Wait until the key is granted.

        Args:
            data: Operation to apply to the key's value at the grant.

        Returns:
            The grant, to be released by ``release`` or ``async with``.

        Raises:
            ConnectionLost: The client does not reconnect.
            NoLeader: The server cannot reach a leader.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The wait is withdrawn on the server; nothing is held or waits there.
            A cancellation that comes after the grant has arrived is too late:
            the grant is returned.
        """
        wait, flag = self._requester.wait
        return await self._attempt(wait, flag, data)

    @enable_ki_protection
    async def try_acquire(self, *, data: Data | None = None) -> Grant:
        """Take the key if it is free now.

        Args:
            data: Operation to apply to the key's value at the grant.

        Returns:
            The grant.

        Raises:
            trio.WouldBlock: Others hold it or wait for it.
            ConnectionLost: The client does not reconnect.
            NoLeader: The server cannot reach a leader.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            As for `acquire`.
        """
        return await self._attempt(0, 0, data)

    async def _attempt(self, wait: int, wait_flag: int, data: Data | None) -> Grant:
        requester = self._requester
        attempt = requester.new_id()
        command = LockCommand(
            _LOCK,
            attempt,
            0,
            self.db,
            attempt,
            self.key,
            wait,
            wait_flag,
            *self._wire_lease,
            self._count,
            self._rcount,
            None if data is None else data.encode(),
        )
        grant = Grant(requester, command)
        result = await requester.acquire(command, grant)
        if result.result == _OK:
            grant.granted(result)
            return grant
        if result.result == _REFUSED and not wait:
            raise trio.WouldBlock
        raise refusal(result)

    @enable_ki_protection
    async def __aenter__(self) -> Grant:
        grant = await self.acquire()
        grant.enter()
        task = current_task()
        grant.outer = self._entered.get(task)
        self._entered[task] = grant
        return grant

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        task = current_task()
        grant = self._entered.pop(task)
        if grant.outer is not None:
            self._entered[task] = grant.outer
        return await grant.__aexit__(exc_type, exc, traceback)
