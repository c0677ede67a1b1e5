"""A place where Python keeps an object, which can be read and written."""

from collections import deque
from typing import Any

ITEMS = (dict, list, deque)
"""Containers whose items are places."""


class Place:
    """An item of a dict or list, or an attribute of another object.

    Args:
        container: the dict (an object's attributes among them), list, deque, or object such as a closure's cell.
        key: where: a key, an index or an attribute's name.
    """

    __slots__ = ("_container", "_key", "name")

    def __init__(self, container: Any, key: Any) -> None:
        self._container = container
        self._key = key
        self.name = (id(container), key)

    def read(self) -> Any:
        """Return what is there; None if there is no such place any more."""
        try:
            return self._container[self._key] if self._has_items else getattr(self._container, self._key, None)
        except (KeyError, IndexError):
            return None

    def write(self, value: Any) -> None:
        """Put a value there."""
        if self._has_items:
            self._container[self._key] = value
        else:
            setattr(self._container, self._key, value)

    @property
    def _has_items(self) -> bool:
        return isinstance(self._container, ITEMS)
