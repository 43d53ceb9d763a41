"""What the tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmspell_storage import Database, Vectors


@pytest.fixture
def database() -> Iterator[Database]:
    with Database.in_memory() as database:
        yield database


@pytest.fixture
def memories(database: Database) -> Vectors:
    return database.vectors("memories", 3)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"
