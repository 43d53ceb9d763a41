"""What a call from Python costs over one from Rust, and what the package weighs.

Measures with the installed package, and with ``bench/rust`` built in the profile ``release``, in turns, so that both see the
same machine. ``--check`` fails where a target is missed by more than a busy machine explains (twice, or half).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from llmspell_storage import Database

HERE = Path(__file__).parent
ROWS, DIM, SEARCHES, ROUNDS = 20_000, 384, 5_000, 5


def search_us(database: Database, rows: np.ndarray, as_lists: bool) -> float:
    space = database.vectors("lists" if as_lists else "arrays", DIM)
    space.insert_array([str(n) for n in range(100)], rows[:100])
    queries = [row.tolist() if as_lists else row for row in rows[:100]]
    micros = []
    for n in range(SEARCHES):
        query = queries[n % 100]
        start = time.perf_counter_ns()
        hits = space.search(query, 10)
        micros.append((time.perf_counter_ns() - start) / 1e3)
        assert len(hits) == 10
    return statistics.median(micros)


def insert_s(rows: np.ndarray) -> float:
    ids = [str(n) for n in range(len(rows))]
    seconds = []
    for _ in range(5):
        with Database.in_memory() as database:
            space = database.vectors("rows", DIM)
            start = time.perf_counter()
            space.insert_array(ids, rows)
            seconds.append(time.perf_counter() - start)
    return min(seconds)


def in_rust(rows: np.ndarray) -> dict[str, float]:
    command = ["cargo", "build", "--quiet", "--release", "--locked", "-p", "llmspell-storage-python-bench"]
    subprocess.run(command, cwd=HERE.parent, check=True)
    program = HERE.parent / "target" / "release" / "llmspell-storage-python-bench"
    with tempfile.NamedTemporaryFile() as file:
        file.write(rows.tobytes())
        file.flush()
        output = subprocess.run([program, file.name, str(DIM), str(SEARCHES)], check=True, capture_output=True)
    return json.loads(output.stdout)


def import_ms() -> float:
    """Median of what importing the package takes, in processes of their own."""
    code = "import time; start = time.perf_counter(); import llmspell_storage; print(time.perf_counter() - start)"
    output = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True) for _ in range(11)]
    return statistics.median(float(done.stdout) * 1e3 for done in output)


def main() -> int:
    rows = np.random.default_rng(7).normal(size=(ROWS, DIM)).astype(np.float32)
    rounds = []
    for _ in range(ROUNDS):
        rust = in_rust(rows)
        with Database.in_memory() as database:
            array_us = search_us(database, rows, as_lists=False)
            list_us = search_us(database, rows, as_lists=True)
        rounds.append((array_us - rust["search_us"], list_us - rust["search_us"], rust["insert_s"] / insert_s(rows), rust["search_us"]))
    arrays, lists, inserts, rust_us = (statistics.median(column) for column in zip(*rounds))
    loading = import_ms()
    print(f"search of 100 rows of {DIM}, k = 10, in Rust: {rust_us:.1f} µs")
    print(f"  from Python, the query an array: {arrays:+.1f} µs (target 15)")
    print(f"  from Python, the query a list:   {lists:+.1f} µs")
    print(f"insert of {ROWS} rows: {inserts:.2f} of Rust's rate (target 0.9)")
    print(f"import: {loading:.1f} ms (target 30)")
    wheels = list((HERE.parent / "target" / "wheels").glob("*.whl"))
    size = max((wheel.stat().st_size for wheel in wheels), default=0) / 1e6
    print(f"wheel: {size:.1f} MB (target 8)")
    missed = arrays > 30 or inserts < 0.45 or loading > 60 or size > 8
    return int(missed and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
