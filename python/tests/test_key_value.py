"""Calls on key-value state, and a model of it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmspell_storage import Database, DataError, InvalidError

KEYS = st.sampled_from(["a", "ab", "abc", "b", "ä", "ba"])
VALUES = st.binary(max_size=4)
STEPS = st.one_of(
    st.tuples(st.just("set"), KEYS, VALUES),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("swap"), KEYS, st.none() | VALUES, st.none() | VALUES),
    st.tuples(st.just("many"), st.dictionaries(KEYS, VALUES)),
    st.tuples(st.just("prefix"), st.sampled_from(["a", "ab", "z"])),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_key_value_state_is_like_a_dict(steps: list[tuple]) -> None:
    with Database.in_memory() as database:
        kv, model = database.kv(), {}
        for step in steps:
            match step:
                case ("set", key, value):
                    kv.set(key, value)
                    model[key] = value
                case ("delete", key):
                    assert kv.delete(key) == (model.pop(key, None) is not None)
                case ("swap", key, expected, new):
                    swapped = model.get(key) == expected
                    assert kv.compare_and_swap(key, expected, new) == swapped
                    if swapped and new is None:
                        model.pop(key, None)
                    elif swapped:
                        model[key] = new
                case ("many", values):
                    kv.set_many(values)
                    model.update(values)
                case ("prefix", prefix):
                    gone = [key for key in model if key.startswith(prefix)]
                    assert kv.delete_prefix(prefix) == len(gone)
                    for key in gone:
                        del model[key]
            assert list(kv.scan(page=2)) == sorted(model.items(), key=lambda pair: pair[0].encode())
            assert {key: kv.get(key) for key in ["a", "ä"]} == {key: model.get(key) for key in ["a", "ä"]}
        assert kv.get_many(["a", "b", "none"]) == {key: model[key] for key in ["a", "b"] if key in model}
        assert (kv.count("a"), kv.keys("b")) == (
            sum(key.startswith("a") for key in model),
            sorted(key for key in model if key.startswith("b")),
        )


def test_keys_expire(database: Database) -> None:
    kv = database.kv()
    kv.set("token", b"t", ttl=timedelta(hours=1))
    expires = kv.expires_at("token")
    assert expires is not None and timedelta(minutes=59) < expires - datetime.now(timezone.utc) <= timedelta(hours=1)
    kv.set("gone", b"t", expires_at=datetime(2020, 1, 1, tzinfo=timezone.utc))
    assert kv.get("gone") is None and not kv.exists("gone")
    kv.set("token", b"u")
    assert kv.expires_at("token") is None
    assert kv.compare_and_swap("token", b"u", b"v", ttl=timedelta(seconds=60))
    assert kv.expires_at("token") is not None
    with pytest.raises(InvalidError, match="not both"):
        kv.set("k", b"v", ttl=timedelta(hours=1), expires_at="2030-01-01T00:00:00Z")
    with pytest.raises(InvalidError, match="ttl in milliseconds is 0"):
        kv.set("k", b"v", ttl=timedelta())
    with pytest.raises(InvalidError, match="negative"):
        kv.set("k", b"v", ttl=timedelta(seconds=-1))
    with pytest.raises(InvalidError, match="no time zone"):
        kv.set("k", b"v", expires_at=datetime(2030, 1, 1))


def test_values_as_json(database: Database) -> None:
    kv = database.kv()
    value = {"list": [1, 2.5, None, True], "text": "ü"}
    kv.set_json("limits", value)
    assert kv.get_json("limits") == value
    assert kv.get_json("none") is None
    kv.set("bad", b"{")
    with pytest.raises(DataError, match="`bad` cannot be decoded"):
        kv.get_json("bad")
    with pytest.raises(InvalidError, match="NaN"):
        kv.set_json("nan", float("nan"))
    with pytest.raises(TypeError, match="set_json"):
        kv.set("text", "text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a key is"):
        kv.set_json("k", {1: 2})
    endless: list = []
    endless.append(endless)
    with pytest.raises(InvalidError, match="nested"):
        kv.set_json("k", endless)
    assert kv.count() == 2


def test_a_scoped_handle_has_keys_of_its_own(database: Database) -> None:
    kv = database.kv()
    ada, bob = kv.scoped("user:ada"), kv.scoped("user:bob")
    ada.set("theme", b"dark")
    bob.set("theme", b"light")
    assert (ada.get("theme"), bob.get("theme"), kv.get("theme")) == (b"dark", b"light", None)
    assert list(ada.scan()) == [("theme", b"dark")]
    assert ada.clear() == 1
    assert bob.count() == 1


def test_limits_are_named(database: Database) -> None:
    with pytest.raises(InvalidError, match="key") as error:
        database.kv().set("", b"")
    assert error.value.code == "EmptyKey"
    with pytest.raises(InvalidError) as error:
        database.kv().set("k" * 5000, b"")
    assert (error.value.value, error.value.limit) == (5000, 4096)
