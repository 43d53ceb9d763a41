"""Filters built in code: ``(F("lang") == "en") & (F("year") >= 2020)``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from datetime import datetime

    #: What a field can be compared with. A datetime becomes a text in RFC 3339.
    Scalar = str | int | float | bool | datetime | None


class Filter:
    """A condition on the metadata of entries. Combine conditions by ``&``, ``|`` and ``~``."""

    __slots__ = ("_json",)

    def __init__(self, json: dict[str, Any]) -> None:
        self._json = json

    @staticmethod
    def all() -> Filter:
        """Matches every entry."""
        return Filter({"all": {}})

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, which calls take as well."""
        return self._json

    def __and__(self, other: Filter) -> Filter:
        return self._joined("and", other)

    def __or__(self, other: Filter) -> Filter:
        return self._joined("or", other)

    def __invert__(self) -> Filter:
        return Filter({"not": self._json})

    def _joined(self, operator: str, other: object) -> Filter:
        if not isinstance(other, Filter):
            raise TypeError(f"a filter is joined with another one, not with {type(other).__name__}")
        parts: list[Any] = []
        for filter in (self, other):
            parts += filter._json.get(operator, [filter._json])
        return Filter({operator: parts})

    def __bool__(self) -> NoReturn:
        raise TypeError("a filter is neither true nor false; combine filters by &, | and ~, not by and, or, not")

    def __repr__(self) -> str:
        return f"Filter({self._json!r})"


class F:
    """A field of the metadata, such as ``F("lang")`` or ``F("meta.author")``, or a time such as ``F("@created_at")``.

    A comparison gives a :class:`Filter`. It does not match where the field is missing or of another type; ``!=`` and
    ``~`` do.
    """

    __slots__ = ("_field",)

    def __init__(self, field: str) -> None:
        self._field = field

    def _compared(self, operator: str, value: Scalar) -> Filter:
        return Filter({operator: {"field": self._field, "value": value}})

    def __eq__(self, value: Scalar) -> Filter:  # type: ignore[override]
        return self._compared("eq", value)

    def __ne__(self, value: Scalar) -> Filter:  # type: ignore[override]
        return self._compared("ne", value)

    def __lt__(self, value: Scalar) -> Filter:
        return self._compared("lt", value)

    def __le__(self, value: Scalar) -> Filter:
        return self._compared("le", value)

    def __gt__(self, value: Scalar) -> Filter:
        return self._compared("gt", value)

    def __ge__(self, value: Scalar) -> Filter:
        return self._compared("ge", value)

    __hash__ = None  # type: ignore[assignment]

    def is_in(self, values: Iterable[Scalar]) -> Filter:
        """The field equals one of the values."""
        return Filter({"in": {"field": self._field, "values": list(values)}})

    def between(self, low: Scalar, high: Scalar) -> Filter:
        """The field lies between the two, which are included."""
        return Filter({"between": {"field": self._field, "low": low, "high": high}})

    def exists(self) -> Filter:
        """The field is there, whatever its value."""
        return Filter({"exists": {"field": self._field}})

    def is_null(self) -> Filter:
        """The field is there, and null."""
        return Filter({"is_null": {"field": self._field}})

    def contains(self, value: Scalar) -> Filter:
        """The field is a list with this element."""
        return Filter({"contains": {"field": self._field, "value": value}})

    def starts_with(self, prefix: str) -> Filter:
        """The field is a text that begins so."""
        return Filter({"starts_with": {"field": self._field, "prefix": prefix}})

    def matches(self, text: str) -> Filter:
        """The field is a text that has all words of this one."""
        return Filter({"matches_text": {"field": self._field, "text": text}})

    def __repr__(self) -> str:
        return f"F({self._field!r})"
