"""Calls on a vector space."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from llmspell_storage import (
    ConflictError,
    Database,
    Entry,
    F,
    HNSWConfig,
    InvalidError,
    NotFoundError,
    StateScope,
    Vectors,
)

ADA = StateScope.user("ada")
AXES = {"x": [1.0, 0.0, 0.0], "y": [0.0, 1.0, 0.0], "z": [0.0, 0.0, 1.0]}


def axes(**settings: object) -> list[Entry]:
    return [Entry(id, vector, {"axis": id, "n": n}, **settings) for n, (id, vector) in enumerate(AXES.items())]


def test_an_entry_comes_back_as_it_was_stored(memories: Vectors) -> None:
    event = datetime(2026, 11, 1, 12, 0, 0, 123_000, tzinfo=timezone.utc)
    metadata = {"lang": "en", "tags": ["a", 1, None, 2.5], "deep": {"yes": True}, "big": 2**63}
    entry = Entry("a", [0.25, 0.5, -1.0], metadata, scope=ADA, event_time=event, ttl=timedelta(hours=1))
    before = datetime.now(timezone.utc) - timedelta(milliseconds=1)
    assert memories.insert([entry]) == ["a"]

    stored = memories.get("a", scope=ADA)
    assert stored is not None
    assert (stored.id, stored.vector, stored.metadata, stored.scope) == ("a", [0.25, 0.5, -1.0], metadata, "user:ada")
    assert stored.event_time == event
    assert stored.created_at is not None and before <= stored.created_at == stored.updated_at
    assert stored.expires_at == stored.created_at + timedelta(hours=1)
    assert stored.ttl is None
    assert memories.get("a") is None, "the entry belongs to Ada"
    assert memories.get_many(["b", "a"], scope=ADA) == [None, stored]


def test_a_search_finds_the_nearest_first_in_its_scope_only(memories: Vectors) -> None:
    memories.insert(axes())
    memories.insert(axes(scope=ADA))
    hits = memories.search([1.0, 0.5, 0.0], 2)
    assert [hit.id for hit in hits] == ["x", "y"]
    assert hits[0].score > hits[1].score and hits[0].distance < hits[1].distance
    assert hits[0].metadata == {"axis": "x", "n": 0}
    assert (hits[0].vector, hits[0].scope, hits[0].recency_score) == (None, None, None)
    with pytest.raises(InvalidError, match="include_vectors"):
        hits[0].to_numpy()
    bare = memories.search([1.0, 0.0, 0.0], 1, include_metadata=False, include_vectors=True)[0]
    assert (bare.metadata, bare.vector, bare.score) == (None, [1.0, 0.0, 0.0], 1.0)
    both = memories.search([1.0, 0.0, 0.0], 2, scopes=["global", ADA])
    assert [(hit.id, hit.scope) for hit in both] == [("x", "global"), ("x", ADA)]
    assert memories.search([1.0, 0.0, 0.0], scope="user:bob") == []


def test_the_settings_of_a_search_reach_the_store(memories: Vectors) -> None:
    old = datetime.now(timezone.utc) - timedelta(days=30)
    memories.insert([Entry("old", [1.0, 0.0, 0.0], {"doc": 1}, event_time=old), Entry("new", [0.9, 0.1, 0.0], {"doc": 1})])
    ids = lambda **settings: [hit.id for hit in memories.search([1.0, 0.0, 0.0], **settings)]
    assert ids() == ["old", "new"]
    assert ids(k=1, offset=1) == ["new"]
    assert ids(threshold=1.0) == ["old"]
    assert ids(recency=timedelta(days=1)) == ["new", "old"]
    assert ids(group_by=("doc", 1)) == ["old"]
    assert ids(mmr=0.5, exact=True, ef_search=20) == ["old", "new"]
    assert ids(event_time=(None, datetime.now(timezone.utc))) == ["old"]
    assert ids(event_time=(old + timedelta(days=1), None)) == []
    assert ids(ingested=("2020-01-01T00:00:00Z", None)) == ["old", "new"]
    assert memories.search([1.0, 0.0, 0.0], recency=timedelta(days=1))[0].recency_score is not None
    with pytest.raises(InvalidError) as error:
        memories.search([1.0, 0.0, 0.0], 0)
    assert error.value.code == "OutOfRange" and error.value.value == 0 and error.value.limit == (1, 10_000)
    assert [[hit.id for hit in hits] for hits in memories.search_many([AXES["x"], AXES["y"]], 1)] == [["old"], ["new"]]


def test_filters_as_text_dict_and_builder_mean_the_same(memories: Vectors) -> None:
    memories.insert(axes())
    forms = ['axis = "x" or n >= 2', {"or": [{"eq": {"field": "axis", "value": "x"}}, {"ge": {"field": "n", "value": 2}}]}]
    for form in [*forms, (F("axis") == "x") | (F("n") >= 2)]:
        assert sorted(hit.id for hit in memories.search([1, 1, 1], filter=form)) == ["x", "z"]
        assert memories.count(form) == 2
        assert [entry.id for entry in memories.list(filter=form)] == ["x", "z"]
    assert memories.facet("axis", filter="n < 2") in ([("x", 1), ("y", 1)], [("y", 1), ("x", 1)])
    assert memories.delete_matching(~(F("axis") == "x")) == 2
    assert memories.count() == 1
    with pytest.raises(InvalidError, match="column 6") as error:
        memories.count("axis ~ 1")
    assert error.value.code == "Filter"


def test_existing_ids_are_refused_or_replaced(memories: Vectors) -> None:
    memories.insert(Entry("a", [1.0, 0.0, 0.0], {"n": 1}))
    with pytest.raises(ConflictError, match="`a` exists") as error:
        memories.insert([Entry("b", [1.0, 0.0, 0.0]), Entry("a", [1.0, 0.0, 0.0])])
    assert (error.value.code, error.value.details["id"]) == ("IdExists", "a")
    assert memories.count() == 1, "all or nothing"
    assert memories.upsert([Entry("a", [0.0, 1.0, 0.0])]) == ["a"]
    assert memories.search([0.0, 1.0, 0.0])[0].score == 1.0
    generated = memories.insert([Entry("", [0.0, 1.0, 0.0])])
    assert len(generated[0]) == 36


def test_metadata_expiry_and_deletion(memories: Vectors) -> None:
    memories.insert(axes())
    memories.patch_metadata("x", {"axis": None, "more": {"a": 1}})
    memories.patch_metadata("x", {"more": {"b": 2}})
    assert memories.get("x").metadata == {"n": 0, "more": {"a": 1, "b": 2}}
    memories.update_metadata("x", {"only": True})
    assert memories.get("x").metadata == {"only": True}
    with pytest.raises(NotFoundError, match="no entry `w`") as error:
        memories.patch_metadata("w", {})
    assert isinstance(error.value, LookupError)

    assert memories.touch(["x", "w"], timedelta(hours=1)) == ["w"]
    assert memories.get("x").expires_at > datetime.now(timezone.utc) + timedelta(minutes=59)
    memories.touch("x", None)
    assert memories.get("x").expires_at is None
    memories.touch("x", datetime(2020, 1, 1, tzinfo=timezone.utc))
    assert memories.get("x") is None

    assert memories.delete(["x", "y"]) == 1
    assert memories.delete("z") == 1
    memories.insert(axes(scope=ADA))
    with pytest.raises(InvalidError, match="name the scope"):
        memories.delete_scope()
    assert memories.scopes() == [ADA]
    assert memories.delete_scope(ADA) == 3
    memories.insert(axes(scope="session:1") + axes(scope="session:2"))
    assert memories.delete_scopes(["session:1", "session:3"]) == 3
    assert memories.delete_scopes_of_kind("session") == 3


def test_listings_read_pages_and_go_by_time(memories: Vectors) -> None:
    for id in ["b", "a", "c"]:
        memories.insert(Entry(id, [1.0, 0.0, 0.0], created_at=f"2026-01-0{ord(id) - 96}T00:00:00Z"))
    assert [entry.id for entry in memories.list(page=1)] == ["a", "b", "c"]
    assert [entry.id for entry in memories.list(page=2, order="newest_first")] == ["c", "b", "a"]
    assert [entry.id for entry in memories.newest(2)] == ["c", "b"]
    page, cursor = memories.list_page(limit=2, order="id_descending")
    assert [entry.id for entry in page] == ["c", "b"] and cursor is not None
    page, cursor = memories.list_page(limit=2, order="id_descending", after=cursor)
    assert ([entry.id for entry in page], cursor) == (["a"], None)
    with pytest.raises(InvalidError, match="order"):
        memories.list(order="random")
    sample = memories.sample(2, 7)
    assert len({entry.id for entry in sample}) == 2
    assert [entry.id for entry in memories.sample(2, 7)] == [entry.id for entry in sample]


def test_recommendations_leave_out_their_examples(memories: Vectors) -> None:
    memories.insert([Entry("a", [1, 0, 0]), Entry("b", [1, 0.1, 0]), Entry("c", [0, 1, 0])])
    assert [hit.id for hit in memories.recommend("a", 1)] == ["b"]
    assert [hit.id for hit in memories.recommend(["b", [1.0, 0.0, 0.0]], unlike=["c"])] == ["a"]
    with pytest.raises(NotFoundError):
        memories.recommend("w")


def test_a_handle_for_one_scope_reaches_no_other(memories: Vectors) -> None:
    memories.insert(axes())
    mine = memories.scoped(ADA)
    assert (mine.scope, mine.count()) == (ADA, 0)
    mine.insert(Entry("a", [1.0, 0.0, 0.0]))
    assert [hit.id for hit in mine.search([1.0, 0.0, 0.0])] == ["a"]
    assert memories.count(scope=ADA) == 1
    for call in [
        lambda: mine.get("x", scope="global"),
        lambda: mine.scoped("user:bob"),
        lambda: mine.insert(Entry("b", [1.0, 0.0, 0.0], scope="user:bob")),
    ]:
        with pytest.raises(InvalidError) as error:
            call()
        assert error.value.code == "OutsideScope"
    assert mine.delete_scope() == 1


def test_configurations_are_checked_with_their_ranges(database: Database) -> None:
    config = HNSWConfig("fast", metric="euclidean", ef_construction=80)
    assert (config.metric, config.m, config.ef_construction) == ("euclidean", 12, 80)
    space = database.vectors("points", 2, config)
    space.insert(Entry("a", [3.0, 4.0]))
    assert space.search([0.0, 0.0])[0].distance == 5.0
    assert space.dim == 2
    with pytest.raises(InvalidError, match=r"m is 3; it must be within 4..=128") as error:
        HNSWConfig(m=3)
    assert error.value.limit == (4, 128)
    with pytest.raises(InvalidError, match="preset"):
        database.vectors("other", 2, "quick")
    with pytest.raises(ConflictError, match="dimension 2, not 3"):
        database.vectors("points", 3)
    assert [space["name"] for space in database.spaces()] == ["points"]
    stats = space.stats()
    assert (stats["vectors"], stats["metric"], space.stats(scope="global")["vectors"]) == (1, "euclidean", 1)
    database.drop_space("points")
    assert database.spaces() == []


def test_a_large_scope_gets_a_graph(directory) -> None:
    import numpy as np

    rows = np.random.default_rng(1).normal(size=(600, 16)).astype(np.float32)
    with Database.open(directory, graph_points_min=200) as database:
        space = database.vectors("many", 16)
        space.insert_array([f"{n:04}" for n in range(600)], rows)
        space.build_index()
        assert space.stats()["indexed_vectors"] == 600
        assert space.search(rows[5], 1)[0].id == "0005"
