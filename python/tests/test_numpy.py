"""numpy arrays in and out, and searches against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from llmspell_storage import Database, Entry, HNSWConfig, InvalidError, Vectors

ROWS = np.eye(3, dtype=np.float32)


def test_rows_are_stored_with_their_ids_and_metadata(memories: Vectors) -> None:
    assert memories.insert_array(["a", "b", "c"], ROWS, [{"n": 1}, None, {"n": 3}], scope="user:ada") == ["a", "b", "c"]
    entries = list(memories.list(scope="user:ada"))
    assert [entry.metadata for entry in entries] == [{"n": 1}, {}, {"n": 3}]
    for entry, row in zip(entries, ROWS):
        array = entry.to_numpy()
        assert array.dtype == np.float32 and np.array_equal(array, row)
    hit = memories.search(ROWS[1], 1, scope="user:ada", include_vectors=True)[0]
    assert hit.id == "b" and np.array_equal(hit.to_numpy(), ROWS[1])
    memories.upsert_array(["a"], ROWS[2:], scope="user:ada")
    assert memories.get("a", scope="user:ada").vector == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    "rows",
    [
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2],
        np.arange(6, dtype=np.float64).reshape(2, 3),
        np.arange(6, dtype=np.float16).reshape(2, 3),
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.frombuffer(b"\0" + np.arange(6, dtype=np.float32).tobytes(), dtype=np.float32, count=6, offset=1).reshape(2, 3),
    ],
    ids=["columns first", "strided", "float64", "float16", "big-endian", "unaligned"],
)
def test_arrays_of_any_layout_keep_their_values(memories: Vectors, rows: np.ndarray) -> None:
    memories.insert_array(["a", "b"], rows)
    assert [entry.vector for entry in memories.list()] == rows.tolist()
    assert memories.search(rows[1], 1)[0].score == 1.0


def test_wrong_types_and_shapes_are_named(memories: Vectors) -> None:
    cases = [
        (TypeError, "int64", lambda: memories.insert_array(["a"], np.zeros((1, 3), dtype=np.int64))),
        (TypeError, "complex64", lambda: memories.search(np.zeros(3, dtype=np.complex64))),
        (InvalidError, r"2 axes.*\(3,\)", lambda: memories.insert_array(["a"], np.zeros(3, dtype=np.float32))),
        (InvalidError, r"1 axes.*\(1, 3\)", lambda: memories.search(np.zeros((1, 3), dtype=np.float32))),
        (InvalidError, "1 ids for 2 vectors", lambda: memories.insert_array(["a"], ROWS[:2])),
        (InvalidError, "1 metadata for 2 vectors", lambda: memories.insert_array(["a", "b"], ROWS[:2], [{}])),
        (InvalidError, "expected 3, got 4", lambda: memories.search(np.ones(4, dtype=np.float32))),
        (InvalidError, "component 1 is NaN", lambda: memories.search([1.0, float("nan"), 0.0])),
        (InvalidError, "all components are zero", lambda: memories.insert_array(["a"], np.zeros((1, 3), dtype=np.float32))),
        (TypeError, "a list of floats", lambda: memories.search("abc")),
        (TypeError, "must be a float, not str", lambda: memories.search([1.0, "2", 3.0])),
        (TypeError, "n × dim float32", lambda: memories.insert_array(["a"], 3)),
        (TypeError, "must be a dict", lambda: Entry("a", [1.0], [1])),
        (TypeError, "must be an Entry", lambda: memories.insert([{"id": "a"}])),
    ]
    for kind, message, call in cases:
        with pytest.raises(kind, match=message):
            call()
    assert memories.count() == 0


def test_other_array_types_and_scalars_are_read(memories: Vectors) -> None:
    class Tensor:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return ROWS

    memories.insert_array(["a", "b", "c"], Tensor(), [{"n": np.int64(1), "f": np.float32(0.5)}, {}, {}])
    assert memories.get("a").metadata == {"n": 1, "f": 0.5}
    assert memories.search((np.float32(1.0), 0, 0.0), 1)[0].id == "a"


@settings(max_examples=40, deadline=None)
@given(
    rows=arrays.arrays(np.float32, st.tuples(st.integers(1, 40), st.just(4)), elements=st.integers(-8, 8).map(float)),
    query=arrays.arrays(np.float32, 4, elements=st.integers(-8, 8).map(float)),
    k=st.integers(1, 12),
)
def test_a_search_finds_what_brute_force_finds(rows: np.ndarray, query: np.ndarray, k: int) -> None:
    with Database.in_memory() as database:
        space = database.vectors("points", 4, HNSWConfig(metric="euclidean"))
        space.insert_array([f"{n:02}" for n in range(len(rows))], rows)
        hits = space.search(query, k)
    distances = np.linalg.norm(rows.astype(np.float64) - query, axis=1)
    nearest = sorted(range(len(rows)), key=lambda n: (distances[n], n))[:k]
    # Whole numbers, so that equal distances are equal, and go by id.
    assert [int(hit.id) for hit in hits] == nearest
    assert np.allclose([hit.distance for hit in hits], distances[nearest], rtol=1e-6)
