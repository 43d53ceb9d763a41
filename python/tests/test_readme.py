"""The examples of the README run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent
READMES = (FOLDER / "README.md").read_text() + (FOLDER.parent / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", READMES, re.DOTALL | re.MULTILINE)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = EXAMPLES[number]
    for package in re.findall(r"from llmspell_storage\.(lang\w+)", example):
        pytest.importorskip({"langgraph": "langgraph.store.base", "langchain": "langchain_core"}[package])
    monkeypatch.chdir(tmp_path)
    exec(compile(example, f"README.md, example {number}", "exec"), {"__name__": "__main__"})
