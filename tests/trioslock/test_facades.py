"""`trioslock.aio` has what the trio API has."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import trioslock
from trioslock import aio, primitives, recipes
from trioslock.aio import _handles
from trioslock.aio import recipes as aio_recipes

NAMES_LEFT_OUT = {
    "BegunWait": "a wait without a task is for trio programs with very many waits",
}
METHODS_LEFT_OUT = {
    "Event.begin_wait": NAMES_LEFT_OUT["BegunWait"],
    "Client.write_by": "what aio itself uses",
    "TreeLock.parent": "the trio handle of the node above",
    "TreeLock.requester": "a part of the trio client",
    "TreeLeaf.take": "a step of acquire",
    "TreeLeaf.link": "a step of acquire",
    "TreeLeaf.node": "the trio handle of the node",
}
# What a grant and a handle offer to the link and to aio.
INTERNAL = {
    "Grant": [
        *("lost", "granted", "renew_from", "count_from", "share_used", "give_up"),
        *("confirm", "renewed", "begin_leave", "finish_release", "enter", "begin_body"),
        *("end_body", "end_body_in_trio", "with_outer", "unlock_of", "outer", "frame"),
    ],
    "Acquirable": ["begins", "begin_attempt"],
    "Subscription": ["subscribe", "unsubscribe"],
}


def test_every_name_is_there() -> None:
    missing = set(trioslock.__all__) - set(aio.__all__)
    assert missing == set(NAMES_LEFT_OUT)
    more = set(aio.__all__) - set(trioslock.__all__)
    # So that no program needs to import trio.
    assert more == {"BusyResourceError", "ClosedResourceError", "WouldBlock"}


CLASSES = [
    *("Client", "Database", "Changes", "Subscription", "Grant"),
    *("Lock", "RLock", "RWLock", "Semaphore", "Event", "GroupEvent", "TreeLock"),
    *("ConcurrencyLimiter", "TokenBucket", "Value"),
    *("ReadSide", "WriteSide", "TreeLeaf"),
]


def native_class(name: str) -> type:
    cls: type = getattr(trioslock, name, None) or getattr(primitives, name)
    return cls


def facade_class(name: str) -> type:
    cls: type = getattr(aio, name, None) or getattr(_handles, name)
    return cls


def public(cls: type) -> dict[str, Any]:
    internal = {
        each for base in cls.__mro__ for each in INTERNAL.get(base.__name__, ())
    }
    return {
        name: inspect.getattr_static(cls, name)
        for name in dir(cls)
        if not name.startswith("_") and name not in internal
    }


@pytest.mark.parametrize("name", CLASSES)
def test_every_method_is_there_with_its_parameters(name: str) -> None:
    native, ours = native_class(name), facade_class(name)
    for method, member in public(native).items():
        if f"{name}.{method}" in METHODS_LEFT_OUT:
            assert not hasattr(ours, method)
            continue
        assert hasattr(ours, method), method
        other = inspect.getattr_static(ours, method)
        assert inspect.getdoc(other), method
        if not inspect.isfunction(member):
            assert isinstance(other, property)
            continue
        expected = list(inspect.signature(member).parameters.items())
        found = dict(inspect.signature(other).parameters)
        assert [
            (name, p.kind, p.default, p.annotation) for name, p in found.items()
        ] == [(name, p.kind, p.default, p.annotation) for name, p in expected], method
        waits = inspect.iscoroutinefunction(member)
        assert inspect.iscoroutinefunction(other) == waits


def test_open_client_has_the_same_parameters() -> None:
    assert (
        inspect.signature(aio.open_client).parameters
        == inspect.signature(trioslock.open_client).parameters
    )


def test_every_recipe_is_there_with_its_parameters() -> None:
    assert set(aio_recipes.__all__) == set(recipes.__all__)
    for name in recipes.__all__:
        ours, theirs = getattr(aio_recipes, name), getattr(recipes, name)
        for method in ["", *(each for each in vars(theirs) if each[0] != "_")]:
            assert not method or hasattr(ours, method), f"{name}.{method}"
            pair = [getattr(each, method, each) for each in (ours, theirs)]
            # The package itself makes LeaderChanges.
            if callable(pair[1]) and (name, method) != ("LeaderChanges", ""):
                found, expected = map(parameters, pair)
                assert found == expected, f"{name}.{method}"


def parameters(function: Any) -> list[tuple[str, object, object]]:
    found = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in found]


def test_what_is_left_out_exists() -> None:
    for name in METHODS_LEFT_OUT:
        cls, _, method = name.partition(".")
        instance = native_class(cls)
        assert hasattr(instance, method) or method in inspect.getsource(instance)


def test_no_word_of_trio_in_what_users_read() -> None:
    """Docstrings name the errors as this package has them."""
    for name in CLASSES:
        for method, member in public(facade_class(name)).items():
            document = inspect.getdoc(member) or ""
            assert "trio." not in document, f"{name}.{method}"
