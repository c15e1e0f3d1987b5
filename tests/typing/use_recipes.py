"""Only type-checked, never run: every recipe as its users write it."""

from __future__ import annotations

from typing import assert_type

from trioslock import SESSION, Client, Database, Grant, recipes
from trioslock.recipes import Election, Leader, LeaderChanges, Term


async def use_leader(client: Client, db: Database) -> None:
    async with recipes.leader(client, "name", name="a", lease=SESSION) as term:
        assert_type(term, Term)
        assert_type(term.token, int)
        assert_type(term.name, str)
        assert_type(term.grant, Grant)
    election = Election(db, b"0123456789abcdef", lease=30)
    async with election.lead() as term:
        assert_type(await election.current(), Leader | None)
    changes = election.changes()
    assert_type(changes, LeaderChanges)
    async for leader in changes:
        assert_type(leader, Leader | None)
