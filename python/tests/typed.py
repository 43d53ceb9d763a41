"""Checked by mypy and pyright, not run: the types that users see."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from llmspell_storage import AsyncDatabase, Database, Entry, F, Hit, HNSWConfig, InvalidError

if TYPE_CHECKING:
    from typing_extensions import assert_type


def waiting(path: str) -> None:
    with Database.open(path) as database:
        memories = database.vectors("memories", 3, HNSWConfig(metric="euclidean"))
        assert_type(memories.insert([Entry("a", [0.1, 0.2, 0.3], {"lang": "en"}, ttl=timedelta(days=1))]), list[str])
        rows: npt.NDArray[np.float32] = np.zeros((2, 3), dtype=np.float32)
        memories.upsert_array(["a", "b"], rows, [{"n": 1}, None], scope="user:ada")
        assert_type(memories.search(rows[0], filter=(F("lang") == "en") & ~F("draft").exists()), list[Hit])
        hit = memories.search([0.1, 0.2, 0.3], 5, filter={"exists": {"field": "lang"}})[0]
        assert_type(hit.metadata, dict[str, Any] | None)
        for entry in memories.list(order="newest_first"):
            assert_type(entry.to_numpy(), npt.NDArray[np.float32])
        assert_type(database.kv().get("theme"), bytes | None)
        for key, value in database.kv().scan("a"):
            assert_type((key, value), tuple[str, bytes])
        with database.batch() as batch:
            batch.insert(memories, Entry("c", (1.0, 0.0, 0.0))).set("last", b"c")
        router = database.router()
        assert_type(router.search([0.1]), list[Hit])
    try:
        memories.search([1.0])
    except InvalidError as error:
        assert_type(error.details, dict[str, Any])


async def awaiting(path: str) -> None:
    async with await AsyncDatabase.open(path) as database:
        memories = await database.vectors("memories", 3)
        assert_type(await memories.search([0.1, 0.2, 0.3]), list[Hit])
        async for entry in memories.list():
            assert_type(entry, Entry)
        async with database.batch() as batch:
            batch.set("last", b"c")
        assert_type(await database.kv().get("theme"), bytes | None)
