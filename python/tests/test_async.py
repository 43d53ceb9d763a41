"""The same calls as awaitables."""

from __future__ import annotations

import asyncio
import collections.abc
from datetime import timedelta
from pathlib import Path

import pytest

from llmspell_storage import AsyncDatabase, ClosedError, ConflictError, Database, Entry


def test_calls_are_awaited(directory: Path) -> None:
    async def main() -> None:
        async with await AsyncDatabase.open(directory) as database:
            memories = await database.vectors("memories", 2)
            assert await memories.insert([Entry("a", [1.0, 0.0]), Entry("b", [0.0, 1.0])]) == ["a", "b"]
            assert [hit.id for hit in await memories.search([1.0, 0.1])] == ["a", "b"]
            assert [entry.id async for entry in memories.list(page=1)] == ["a", "b"]
            kv = database.kv().scoped("user:ada")
            await kv.set("k", b"v", ttl=timedelta(hours=1))
            assert [pair async for pair in kv.scan()] == [("k", b"v")]
            async with database.batch() as batch:
                batch.insert(memories, Entry("c", [1.0, 1.0])).delete(memories, ["a"], scope="global")
            assert [entry.id async for entry in memories.list()] == ["b", "c"]
            with pytest.raises(ConflictError):
                await memories.insert([Entry("b", [1.0, 0.0])])
        with pytest.raises(ClosedError):
            await memories.count()

    asyncio.run(main())
    with Database.open(directory) as database:
        assert database.vectors("memories", 2).count() == 2


def test_many_calls_run_at_once_as_tasks(directory: Path) -> None:
    async def main() -> int:
        async with await AsyncDatabase.open(directory) as database:
            kv = database.kv()
            calls = [kv.set(f"{n:03}", b"v") for n in range(200)]
            assert isinstance(calls[0], collections.abc.Coroutine)
            await asyncio.gather(*map(asyncio.create_task, calls))
            return await kv.count()

    assert asyncio.run(main()) == 200


def test_the_event_loop_runs_while_a_call_waits(directory: Path) -> None:
    async def main() -> None:
        async with await AsyncDatabase.open(directory) as database:
            memories = await database.vectors("memories", 64)
            entries = [Entry(str(n), [float(n + i) + 1 for i in range(64)]) for n in range(2_000)]
            ticks = 0
            insert = asyncio.create_task(memories.insert(entries))
            while not insert.done():
                await asyncio.sleep(0)
                ticks += 1
            assert ticks > 1 and len(insert.result()) == 2_000

    asyncio.run(main())


def test_a_cancelled_write_happens_completely_or_not_at_all(directory: Path) -> None:
    async def main() -> None:
        async with await AsyncDatabase.open(directory) as database:
            memories = await database.vectors("memories", 2)
            outcomes = set()
            for n in range(60):
                ids = [f"{n}-{i}" for i in range(3)]
                task = asyncio.create_task(memories.insert([Entry(id, [1.0, 0.0]) for id in ids]))
                for _ in range(n % 3):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await database.kv().set("after", b"")
                found = [entry is not None for entry in await memories.get_many(ids)]
                assert len(set(found)) == 1, "all or none"
                outcomes.add(found[0])
            assert False in outcomes

    asyncio.run(main())


def test_a_timeout_cancels_the_wait_and_the_store_goes_on(directory: Path) -> None:
    async def main() -> None:
        async with await AsyncDatabase.open(directory) as database:
            kv = database.kv()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.gather(*[kv.set(f"{n}", b"x" * 1000) for n in range(500)]), 0.0005)
            await kv.set("after", b"v")
            assert await kv.get("after") == b"v"

    asyncio.run(main())


def test_a_call_is_awaited_once() -> None:
    async def main() -> None:
        database = AsyncDatabase.in_memory()
        call = database.kv().count()
        assert await call == 0
        with pytest.raises(RuntimeError, match="awaited already"):
            await call
        never = database.kv().set("k", b"v")
        never.close()
        await database.close()
        await database.close()

    asyncio.run(main())


def test_several_event_loops_use_one_database() -> None:
    import threading

    database = AsyncDatabase.in_memory()

    async def fill(name: str) -> None:
        kv = database.kv()
        await asyncio.gather(*[kv.set(f"{name}{n}", b"v") for n in range(50)])

    threads = [threading.Thread(target=lambda name=name: asyncio.run(fill(name))) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asyncio.run(_count(database)) == 200


async def _count(database: AsyncDatabase) -> int:
    return await database.kv().count()
