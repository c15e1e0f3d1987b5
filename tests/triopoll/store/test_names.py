"""The names of keys in Redis: distinct, and together where a script needs them."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triopoll.store._names import ClusterLayout, Names, ServerLayout
from triopoll.store._slots import slot_of


def test_a_server_has_one_set_of_names() -> None:
    """Without a tag, as before there were clusters: existing data stays readable."""
    layout = ServerLayout("triopoll:")
    names = layout.of_log("k")
    assert names is layout.of_list("other") is layout.control
    assert names.log("k") == "triopoll:log:k"
    assert names.meta("k") == "triopoll:meta:k"
    assert names.held("w") == "triopoll:held:w"
    assert layout.of_tag(layout.tag_in(names)) is names


@given(st.text(), st.text(), st.text(), st.text())
def test_two_users_parts_never_make_one_name(
    key: str, name: str, other_key: str, other_name: str
) -> None:
    """Whatever is in them."""
    names = Names("p:")
    same = (key, name) == (other_key, other_name)
    assert (names.seen(key, name) == names.seen(other_key, other_name)) == same
    kinds = [names.log(key), names.meta(key), names.held(key), names.alive(key)]
    assert all(one != other for one, other in combinations(kinds, 2))


# The first one makes the tags of all places.
@settings(deadline=None)
@given(st.text(min_size=1))
def test_in_a_cluster_a_scripts_keys_share_a_slot(key: str) -> None:
    """Those of a log, and what is held of a list with the list itself."""
    layout = ClusterLayout("p:", "l:")
    log = layout.of_log(key)
    assert len({slot_of(log.log(key)), slot_of(log.meta(key)), slot_of(log.epoch)}) == 1
    assert slot_of(layout.of_list(key).held("w")) == slot_of(key)
    assert layout.of_tag(layout.tag_in(log)) is log


def test_braces_in_a_prefix_are_refused() -> None:
    """They would be a tag."""
    for prefixes in (("{a}", ""), ("p:", "}")):
        with pytest.raises(ValueError, match="braces"):
            ClusterLayout(*prefixes)
