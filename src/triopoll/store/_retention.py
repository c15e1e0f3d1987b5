"""What is kept of the logs of some keys, where that differs from the rest.

A rule is `PATTERN:OPTION=VALUE...`, such as `orders/*:length=100:age=3600`. A pattern
is the name of a log, or a prefix and a `*`. Names may have colons: the options are what
follows the first colon behind which nothing but options stands.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from typing import Any

from triopoll.settings import count_of, seconds_of

from ._log_base import LogLimits, Override

__all__ = ["with_retention"]

_MAX_RULES = 64
_MAX_PATTERN_LENGTH = 256
_RULE = re.compile(r"(?P<pattern>.+?)(?P<options>(?::[a-z]+=[^:]*)+)", re.DOTALL)


def with_retention(limits: LogLimits, rules: Iterable[str]) -> LogLimits:
    """Return limits that differ for some keys.

    Args:
        limits: For all other keys, and for what a rule does not say.
        rules: At most 64, in any order: the longest pattern that matches a key counts.

    Raises:
        ValueError: A rule cannot be used; the message continues a sentence that begins
            with the name of the setting.
    """
    found: dict[str, LogLimits] = {}
    for rule in rules:
        pattern, options = _split(rule)
        if pattern in found:
            raise ValueError(f"has two rules for {pattern!r}")
        found[pattern] = dataclasses.replace(limits, **options)
        if found[pattern].max_age > limits.max_ttl:
            raise ValueError(
                f"has an age for {pattern!r} above the longest time to live of a "
                f"message ({limits.max_ttl:g})"
            )
    if len(found) > _MAX_RULES:
        raise ValueError(f"has more than {_MAX_RULES} rules")
    overrides = sorted(map(_override, found.items()), key=_precedence, reverse=True)
    return dataclasses.replace(limits, overrides=tuple(overrides))


def _override(rule: tuple[str, LogLimits]) -> Override:
    pattern, limits = rule
    return Override(pattern.removesuffix("*"), pattern.endswith("*"), limits)


def _precedence(override: Override) -> tuple[int, bool]:
    """Sort by length; a name comes before the prefix that is the same text."""
    return len(override.text), not override.is_prefix


def _split(rule: str) -> tuple[str, dict[str, Any]]:
    match = _RULE.fullmatch(rule)
    if match is None:
        raise ValueError(
            "must be rules such as orders/*:length=100:age=3600:trim=on, not "
            f"{rule[:80]!r}"
        )
    pattern = match["pattern"]
    if "*" in pattern[:-1] or len(pattern) > _MAX_PATTERN_LENGTH:
        raise ValueError(
            f"has {pattern[:80]!r}, which is not the name of a key or a prefix and *, "
            f"of at most {_MAX_PATTERN_LENGTH} characters"
        )
    return pattern, _options(pattern, match["options"][1:].split(":"))


def _options(pattern: str, texts: Iterable[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for option in texts:
        name, _, text = option.partition("=")
        if name not in _OPTIONS:
            words = ", ".join(_OPTIONS)
            raise ValueError(f"has {name!r} for {pattern!r}; there are {words}")
        field, parse, wrong = _OPTIONS[name]
        if field in options:
            raise ValueError(f"has {name} for {pattern!r} twice")
        try:
            options[field] = parse(text)
        except (ValueError, KeyError):
            raise ValueError(f"has {name}={text[:40]}, which is {wrong}") from None
    return options


_OPTIONS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "length": ("max_messages", count_of, "not a whole number above 0"),
    "age": ("max_age", seconds_of, "not a number above 0"),
    "trim": (
        "trim_acked",
        {"on": True, "off": False}.__getitem__,
        "neither on nor off",
    ),
}
