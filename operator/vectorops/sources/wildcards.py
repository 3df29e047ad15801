"""Patterns of paths, for folders and for the keys of a bucket alike.

`*`, `?` and `[..]` stand for characters within one segment of a path, `**` for any number of segments. As in shells,
none of them matches a name that begins with a dot.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Final

_MAGIC: Final = re.compile(r"[*?\[]")
_ANY_SEGMENTS: Final = "**"

States = frozenset[int]
"""How many segments of the pattern may be matched by the segments of a path so far. A set, as `**` leaves it open."""


class Wildcards:
    """One pattern. The time of a match grows with the product of both lengths, whatever the pattern."""

    def __init__(self, pattern: str) -> None:
        segments = pattern.split("/")
        if segments[-1] == _ANY_SEGMENTS:
            segments.append("*")
        literal = next((i for i, segment in enumerate(segments) if _MAGIC.search(segment)), len(segments))
        self.is_literal = literal == len(segments)
        """Is it the path of one file?"""
        self.folder = "".join(f"{segment}/" for segment in segments[: min(literal, len(segments) - 1)])
        """The segments before the first one with a wildcard (without one: before the last); "" or with a slash at the
        end.
        """
        self.prefix = pattern if self.is_literal else self.folder + _MAGIC.split(segments[literal])[0]
        """What all matching paths begin with."""
        self._segments = segments[self.folder.count("/") :]
        self.start = self._skip(0)
        """Before the first segment below `folder`."""

    def matches(self, path: str) -> bool:
        """Does the whole path match?"""
        if not path.startswith(self.prefix):
            return False
        states = self.start
        for name in path[len(self.folder) :].split("/"):
            states = self.step(states, name)
        return self.is_match(states)

    def step(self, states: States, name: str, *, deep: bool = True) -> States:
        """The states after one more segment. deep: may `**` stand for it, and for more below it?"""
        found: set[int] = set()
        for state in states:
            if state == len(self._segments):
                continue
            segment = self._segments[state]
            is_hidden = name.startswith(".") and not segment.startswith(".")
            if segment == _ANY_SEGMENTS:
                if deep and not is_hidden:
                    found |= self._skip(state)
            elif not is_hidden and fnmatchcase(name, segment):
                found |= self._skip(state + 1)
        return frozenset(found)

    def is_match(self, states: States) -> bool:
        """Is the path that led to these states a match?"""
        return len(self._segments) in states

    def _skip(self, state: int) -> States:
        """The state, and those that `**` leads to by standing for no segment."""
        found = {state}
        while state < len(self._segments) and self._segments[state] == _ANY_SEGMENTS:
            state += 1
            found.add(state)
        return frozenset(found)
