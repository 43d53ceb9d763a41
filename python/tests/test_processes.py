"""Other processes, other threads, and what loading the package costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from llmspell_storage import BusyError, Database

# Not the folder with the sources of the package, which would be loaded in place of the installed one.
HERE = Path(__file__).parent

WRITER = """
import sys
from llmspell_storage import Database, Entry
database = Database.open(sys.argv[1])
memories, kv = database.vectors("memories", 2), database.kv()
n = 0
while True:
    with database.batch() as batch:
        batch.insert(memories, Entry(f"{n:06}", [1.0, float(n)])).set(f"{n:06}", b"v")
    print(n, flush=True)
    n += 1
"""


def run(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, cwd=HERE).stdout


def test_another_process_finds_what_this_one_stored(directory: Path) -> None:
    with Database.open(directory) as database:
        database.kv().set("k", b"v")
        refused = run(
            "import sys, llmspell_storage as s\n"
            "try: s.Database.open(sys.argv[1])\n"
            "except s.BusyError as error: print(error.code)",
            directory,
        )
        assert refused.strip() == "AlreadyOpen"
    read = run("import sys, llmspell_storage as s; print(s.Database.open(sys.argv[1]).kv().get('k'))", directory)
    assert read.strip() == "b'v'"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("seconds", [0.05, 0.3])
def test_a_killed_writer_loses_no_acknowledged_write(directory: Path, seconds: float) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(directory)], stdout=subprocess.PIPE, text=True, cwd=HERE)
    assert writer.stdout is not None
    acknowledged = int(writer.stdout.readline())
    time.sleep(seconds)
    writer.kill()
    for line in writer.stdout:
        if line.endswith("\n"):
            acknowledged = int(line)
    writer.wait()
    writer.stdout.close()

    with Database.open(directory) as database:
        keys = database.kv().keys()
        entries = [entry.id for entry in database.vectors("memories", 2).list()]
        assert keys == entries, "a batch is whole or absent"
        assert entries == [f"{n:06}" for n in range(len(entries))]
        assert acknowledged + 1 <= len(entries) <= acknowledged + 2
        assert all(not section["problems"] for section in database.check()["sections"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_is_refused(directory: Path) -> None:
    code = (
        "import os, sys, llmspell_storage as s\n"
        "database = s.Database.open(sys.argv[1])\n"
        "pid = os.fork()\n"
        "try: database.kv().set('k', b'v')\n"
        "except s.ClosedError: os._exit(7)\n"
        "if pid: print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), database.kv().get('k'))"
    )
    assert run(code, directory).split() == ["7", "b'v'"]


def test_other_threads_run_while_a_search_does(database: Database) -> None:
    rows = np.random.default_rng(1).normal(size=(20_000, 128)).astype(np.float32)
    space = database.vectors("many", 128)
    space.insert_array(map(str, range(len(rows))), rows)
    ran, ran_meanwhile, stop = 0, 0, threading.Event()

    def search() -> None:
        nonlocal ran_meanwhile
        try:
            for _ in range(40):
                before = ran
                space.search(rows[0], 1, exact=True)
                ran_meanwhile += ran - before
        finally:
            stop.set()

    # Threads hand the GIL over only by calls that release it: a search that holds it lets nobody count meanwhile.
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    thread = threading.Thread(target=search)
    try:
        thread.start()
        while not stop.is_set():
            ran += 1
            time.sleep(0)
    finally:
        sys.setswitchinterval(switch)
        thread.join()
    assert ran_meanwhile > 0


def test_ctrl_c_ends_a_call_that_waits(directory: Path) -> None:
    code = (
        "import sys, signal, threading, os, llmspell_storage as s\n"
        "entry = lambda n: s.Entry(str(n), [float(n % 89 + i + 1) for i in range(256)])\n"
        "database = s.Database.open(sys.argv[1], graph_points_min=1)\n"
        "space = database.vectors('many', 256)\n"
        "space.insert(map(entry, range(6000)))\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs this in the background ignores it\n"
        "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try:\n"
        "    while True: space.optimize_index()\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    assert run(code, directory).strip() == "interrupted"


def test_loading_the_package_loads_no_others() -> None:
    loaded = run("import sys, llmspell_storage; print(*sys.modules)").split()
    for heavy in ["numpy", "asyncio", "langgraph", "langchain_core", "typing_extensions"]:
        assert heavy not in loaded


def test_threads_share_a_database(database: Database) -> None:
    kv = database.kv()

    def count(name: str) -> None:
        for _ in range(50):
            while True:
                old = kv.get("n")
                if kv.compare_and_swap("n", old, str(int(old or b"0") + 1).encode()):
                    break

    threads = [threading.Thread(target=count, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kv.get("n") == b"200"


def test_two_handles_in_one_process_are_refused(directory: Path) -> None:
    with Database.open(directory):
        with pytest.raises(BusyError):
            Database.open(directory)
