"""What the store sends, as the code, the page on Redis and a real Redis have it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from tests.triopoll.store.test_acl import (
    documented_rules,
    documented_rules_of_clusters,
)

from triopoll.store._rights import (
    SENT,
    SENT_TO_CLUSTERS,
    Missing,
    ask_rights,
    missing_rights,
    needed,
)

STORE = Path(__file__).parents[3] / "src" / "triopoll" / "store"
# They ask what the service does not, and run before it.
BESIDE_THE_SERVICE = {"_inspection.py", "_rights.py", "_sentinel.py"}
# Redis lets every user say it.
FOR_ALL = {"HELLO"}
# redis-py sends it when it connects to another database than 0.
OF_REDIS_PY = {"SELECT"}


def commands_in(rules: list[str]) -> set[str]:
    rights = (rule[1:] for rule in rules if rule.startswith("+"))
    return {right.upper().replace("|", " ") for right in rights}


def words_sent(source: str) -> Iterator[str]:
    """Yield the words in capitals that come first in a tuple or in a call."""
    for node in ast.walk(ast.parse(source)):
        first: list[ast.expr] = []
        if isinstance(node, ast.Tuple):
            first = node.elts[:1]
        elif isinstance(node, ast.Call):
            first = node.args[:1]
        for word in first:
            if isinstance(word, ast.Constant) and isinstance(word.value, str):
                yield word.value


def test_the_list_is_what_the_code_sends(admin: redis.Redis) -> None:
    """Each word of the code that Redis knows as a command is in the list."""
    known = {name.upper() for name in admin.command()}
    sent = {
        word
        for path in STORE.glob("*.py")
        if path.name not in BESIDE_THE_SERVICE
        for word in words_sent(path.read_text())
        if word in known
    }
    of_clusters = {name.split()[0] for name in SENT_TO_CLUSTERS}
    assert sent - FOR_ALL - of_clusters == SENT - OF_REDIS_PY
    assert of_clusters < sent


def test_the_page_lists_exactly_what_is_needed() -> None:
    """Neither a right that is missing nor one that nothing uses."""
    assert commands_in(documented_rules()) == needed(is_cluster=False)
    rules = [*documented_rules(), *documented_rules_of_clusters()]
    assert commands_in(rules) - OF_REDIS_PY == needed(is_cluster=True)


@pytest.mark.parametrize(
    ("rules", "missing"),
    [
        ("~* +@all", Missing()),
        ("~ours:* ~lists:* +@all", Missing()),
        ("~ours:* +@all", Missing((), ("lists:",))),
        ("~lists:* +@all", Missing((), ("ours:",))),
        ("~* +@all -unlink -time", Missing(("TIME", "UNLINK"))),
        ("~ours:* +@all -hget", Missing(("HGET",), ("lists:",))),
        ("+@all", Missing((), ("ours:", "lists:"))),
    ],
)
def test_redis_says_what_a_user_lacks(
    admin: redis.Redis, rules: str, missing: Missing
) -> None:
    """Commands and keys are told apart, and nothing gets into its log."""
    admin.execute_command(
        *("ACL", "SETUSER", "app", "reset", "on", ">x", *rules.split())
    )
    port = admin.get_connection_kwargs()["port"]
    names = sorted(needed(is_cluster=False))
    denied: dict[str, frozenset[str]] = {}
    with redis.Redis(port=port, username="app", password="x") as user:
        for prefix in ("ours:", "lists:"):
            command = ask_rights((7, 0, 0), names, f"{prefix}a")
            answers = user.execute_command(*command)
            assert set(answers) <= {0, 1}
            pairs = zip(names, answers, strict=True)
            denied[prefix] = frozenset(name for name, answer in pairs if not answer)
    assert missing_rights(denied) == missing
    assert bool(missing) is (missing != Missing())
    assert admin.acl_log() == []


def test_what_is_missing_is_written_as_rules() -> None:
    """As ``ACL SETUSER`` takes them."""
    missing = Missing(("CLUSTER SLOTS", "GET"), ("ours:",))
    assert missing.rules == "~ours:* +cluster|slots +get"


def test_an_old_redis_is_not_asked() -> None:
    """Its scripts do not know the question."""
    assert ask_rights((6, 2, 14), ["GET"], "a") is None
