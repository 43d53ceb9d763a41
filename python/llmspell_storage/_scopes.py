"""Texts of scopes: whose data it is."""

from __future__ import annotations

from ._native import scope_text


class StateScope:
    """Makes the text of a scope, such as ``"user:ada"``, and escapes what must be escaped in its id.

    Calls take these texts; a text such as ``"user:ada"`` can be written by hand as well. An empty id, or one of more
    than 1,024 bytes, raises ``InvalidError``.
    """

    #: Shared by all users of the store.
    GLOBAL = "global"

    @staticmethod
    def user(id: str, /) -> str:
        """One person."""
        return scope_text("user", id)

    @staticmethod
    def session(id: str, /) -> str:
        """One conversation."""
        return scope_text("session", id)

    @staticmethod
    def agent(id: str, /) -> str:
        """One agent."""
        return scope_text("agent", id)

    @staticmethod
    def tool(id: str, /) -> str:
        """One tool."""
        return scope_text("tool", id)

    @staticmethod
    def workflow(id: str, /) -> str:
        """One workflow."""
        return scope_text("workflow", id)

    @staticmethod
    def hook(id: str, /) -> str:
        """One hook."""
        return scope_text("hook", id)

    @staticmethod
    def custom(id: str, /) -> str:
        """Any other owner, for example a tenant."""
        return scope_text("custom", id)
