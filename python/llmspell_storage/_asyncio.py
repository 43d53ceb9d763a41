"""What the event loop runs when a call may go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Future


def finish(future: Future[None]) -> None:
    """Ends a future, unless its task was cancelled meanwhile."""
    if not future.done():
        future.set_result(None)
