"""Atomic batches and the life of a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmspell_storage import (
    BusyError,
    ClosedError,
    ConflictError,
    Database,
    Entry,
    InvalidError,
    StateScope,
    StorageError,
    Vectors,
)


def test_a_batch_writes_entries_and_keys_together(database: Database, memories: Vectors) -> None:
    ada = StateScope.user("ada")
    memories.insert(Entry("draft", [1.0, 0.0, 0.0], scope=ada))
    database.kv().scoped(ada).set("draft", b"1")
    batch = database.batch()
    batch.insert(memories, [Entry("m", [1.0, 0.0, 0.0], scope=ada)]).upsert("memories", Entry("n", [0.0, 1.0, 0.0]))
    batch.delete(memories, ["draft", "none"], scope=ada).set("last", b"m", scope=ada).set("plain", b"p")
    batch.delete_key("draft", scope=ada).delete_key("none")
    assert database.kv().get("plain") is None, "nothing is written before commit"
    summary = batch.commit()
    assert (summary.ids, summary.entries_deleted, summary.keys_deleted) == (["m", "n"], 1, 1)
    assert database.kv().scoped(ada).get("last") == b"m"
    assert database.kv().get("plain") == b"p"
    with pytest.raises(InvalidError, match="make a new one"):
        batch.commit()


def test_a_batch_that_fails_writes_nothing(database: Database, memories: Vectors) -> None:
    memories.insert(Entry("a", [1.0, 0.0, 0.0]))
    with pytest.raises(ConflictError):
        database.batch().set("k", b"v").insert(memories, Entry("a", [1.0, 0.0, 0.0])).commit()
    with pytest.raises(ZeroDivisionError):
        with database.batch() as batch:
            batch.set("k", b"v")
            raise ZeroDivisionError
    assert database.kv().get("k") is None
    with database.batch() as batch:
        batch.set("k", b"v")
    assert database.kv().get("k") == b"v"


def test_closing_frees_the_directory_though_handles_live(directory: Path) -> None:
    with Database.open(directory) as database:
        memories, kv = database.vectors("memories", 2), database.kv()
        mine, batch, rows = memories.scoped("user:ada"), database.batch(), memories.list()
        kv.set("k", b"v")
        with pytest.raises(BusyError, match="open elsewhere"):
            Database.open(directory)
    for call in [memories.count, kv.count, mine.count, batch.commit, database.stats, lambda: memories.dim]:
        with pytest.raises(ClosedError):
            call()
    with pytest.raises(ClosedError):
        next(rows)
    database.close()
    del rows
    with Database.open(directory) as database:
        assert database.kv().get("k") == b"v"
        assert Path(database.path) == directory


def test_a_database_is_described(directory: Path) -> None:
    with pytest.raises(StorageError):
        Database.open(directory, must_exist=True)
    with Database.open(directory) as database:
        assert database.check()["sections"]
        assert database.stats()["keys"] == 0
        assert database.now().tzinfo is not None
        database.set_quota("user:ada", vectors=1)
        assert database.quota("user:ada")["quota"]["vectors"] == 1
        assert database.quota("user:bob") is None
        memories = database.vectors("memories", 2).scoped("user:ada")
        memories.insert(Entry("a", [1.0, 0.0]))
        with pytest.raises(ConflictError) as error:
            memories.insert(Entry("b", [1.0, 0.0]))
        assert (error.value.code, error.value.limit, error.value.value) == ("QuotaExceeded", 1, 1)
        database.kv().scoped("user:ada").set("k", b"v")
        assert database.delete_scopes(["user:ada"]) == (1, 1)
        assert database.delete_scopes_of_kind("session") == (0, 0)


def test_scopes_are_escaped_and_checked(database: Database) -> None:
    assert StateScope.user("ada") == "user:ada"
    assert StateScope.custom("100%") == "custom:100%25"
    assert StateScope.GLOBAL == "global"
    with pytest.raises(InvalidError, match="the id is empty"):
        StateScope.user("")
    with pytest.raises(InvalidError, match="not a scope"):
        database.kv().scoped("ada")


def test_a_router_keeps_models_apart(database: Database) -> None:
    from llmspell_storage import EmbeddingModel, NotFoundError

    router = database.router()
    router.register_model(EmbeddingModel("old", 2))
    router.register_model(EmbeddingModel("large", 4, matryoshka=[2]), store_dim=2)
    assert [model.name for model in router.models()] == ["old", "large"]
    router.insert([Entry("a", [0.6, 0.8], model="old"), Entry("b", [0.1, 0.2, 0.3, 0.4], model="large")])
    hit = router.search([0.1, 0.2, 0.0, 0.0], 1, model="large")[0]
    assert (hit.id, hit.space) == ("b", "large")
    with pytest.raises(NotFoundError, match="no space for the model `new`"):
        router.search([0.6, 0.8], model="new")
    router.migrate_space("old", EmbeddingModel("new", 3), lambda entries: [[1.0, 0.0, 0.0] for _ in entries])
    assert router.search([1.0, 0.0, 0.0], model="new")[0].id == "a"
    with pytest.raises(StorageError, match="the embedding function failed.*division"):
        router.migrate_space("new", EmbeddingModel("next", 3), lambda entries: 1 / 0)
    assert EmbeddingModel.preset("text-embedding-3-small").dim == 1536
    assert EmbeddingModel.preset("unknown") is None


def test_errors_can_be_pickled() -> None:
    import copy
    import pickle

    with pytest.raises(InvalidError) as error:
        StateScope.user("x" * 2000)
    for again in (pickle.loads(pickle.dumps(error.value)), copy.copy(error.value)):
        assert (type(again), str(again), again.code) == (InvalidError, str(error.value), "Scope")
