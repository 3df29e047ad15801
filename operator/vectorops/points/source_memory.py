"""What this process remembers of sources: when each was listed last, and which parts to verify next."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from vectorops.api.meta import Ref

SETS_REMEMBERED: Final = 10_000
"""Of those that were reconciled longest ago, nothing is known: they are listed again, as after a start."""


@dataclass(frozen=True, slots=True)
class RememberedSource:
    """What is remembered of one set."""

    uid: str
    generation: int
    listed: float
    """When the source was listed, in seconds of the loop's clock."""
    next_part: int
    """With which part of the ledger the next verification begins."""


class SourceMemory:
    """By set."""

    def __init__(self) -> None:
        self._sets: OrderedDict[Ref, RememberedSource | None] = OrderedDict()
        """None: see `suspect`."""

    def known(self, ref: Ref, uid: str, generation: int) -> RememberedSource | None:
        """What is remembered of this declaration; None if nothing is, or of another one."""
        found = self._sets.get(ref)
        return found if found is not None and (found.uid, found.generation) == (uid, generation) else None

    def remember(self, ref: Ref, remembered: RememberedSource) -> None:
        """Takes the place of what was remembered of the set, which is as declared."""
        self._put(ref, remembered)

    def forget(self, ref: Ref) -> None:
        """The next reconciliation lists the source."""
        if not self.is_suspected(ref):
            self._sets.pop(ref, None)

    def suspect(self, ref: Ref) -> None:
        """What is stored differs from what the ledger says: all is to be compared until the set is remembered again."""
        self._put(ref, None)

    def is_suspected(self, ref: Ref) -> bool:
        """See `suspect`."""
        return ref in self._sets and self._sets[ref] is None

    def _put(self, ref: Ref, remembered: RememberedSource | None) -> None:
        self._sets[ref] = remembered
        self._sets.move_to_end(ref)
        if len(self._sets) > SETS_REMEMBERED:
            self._sets.popitem(last=False)

    def forget_set(self, ref: Ref) -> None:
        """The set is gone: nothing is remembered, whatever takes its name."""
        self._sets.pop(ref, None)
