"""The exceptions, one for each kind of error: what the caller can do about it."""

from __future__ import annotations

from typing import Any


class StorageError(Exception):
    """Why a call on a store failed.

    Catch a subclass: it says what to do. The message names the value and the limit; the attributes hold them too.
    """

    #: Name of the error in the Rust library, such as ``"Dimension"``.
    code: str
    #: All that is known about it by name, such as ``{"id": "a", "expected": 3, "got": 4}``.
    details: dict[str, Any]

    def __init__(self, message: str, code: str = "", details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.details = {} if details is None else details

    @property
    def value(self) -> Any:
        """What was given; None if the error is not about a value."""
        return self.details.get("got")

    @property
    def limit(self) -> Any:
        """What was expected or allowed at most; a tuple of two for a range; None if there is no limit."""
        for name in ("limit", "expected"):
            if name in self.details:
                return self.details[name]
        if "min" in self.details and "max" in self.details:
            return (self.details["min"], self.details["max"])
        return None

    def __reduce__(self) -> tuple[type[StorageError], tuple[str, str, dict[str, Any]]]:
        return (type(self), (str(self), self.code, self.details))


class InvalidError(StorageError, ValueError):
    """The call is wrong; change it."""


class NotFoundError(StorageError, LookupError):
    """The named item does not exist."""


class ConflictError(StorageError):
    """The state is not as the call expects; look and decide."""


class BusyError(StorageError):
    """Another process or handle is in the way; try later."""


class DataError(StorageError):
    """The content of the disk is damaged, foreign or of another version; restore or upgrade."""


class IoError(StorageError):
    """The system failed; free space, or fix permissions or hardware."""


class ClosedError(StorageError):
    """The handle can no longer be used; reopen."""
