"""Steps about aliases, which may pass from one collection to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vectorops.collections.last_applied import LastApplied
from vectorops.collections.resolve import Desired
from vectorops.collections.steps import Action, Step
from vectorops.qdrant.observe import Observed


@dataclass(frozen=True, slots=True)
class AliasHandover:
    """Aliases that pass from one collection of this installation to another, and always lead to one of them."""

    takeable: Mapping[str, str] = field(default_factory=dict)
    """Declared aliases that may be moved here: alias to the collection that has it now."""
    reserved: frozenset[str] = frozenset()
    """Aliases that are no longer declared here, and stay until the collection that declares them takes them."""


NO_HANDOVER: Final = AliasHandover()


def aliases_elsewhere(desired: Desired, observed: Observed) -> dict[str, str]:
    """Declared aliases that lead to another collection, or are the name of one: alias to that collection."""
    found = {alias: observed.holders.get(alias, desired.name) for alias in sorted(desired.aliases)}
    return {alias: at for alias, at in found.items() if at != desired.name}


def alias_steps(desired: Desired, observed: Observed, last: LastApplied, handover: AliasHandover) -> list[Step]:
    """Creates and moves declared aliases, and deletes ours that are no longer declared."""
    missing = desired.aliases - observed.holders.keys()
    outdated = (last.aliases & observed.aliases) - desired.aliases - handover.reserved
    moved = {
        alias: at for alias, at in aliases_elsewhere(desired, observed).items() if handover.takeable.get(alias) == at
    }
    return [
        *(Step(Action.CREATE_ALIAS, alias, (f"create alias {alias}",)) for alias in sorted(missing)),
        *(
            Step(Action.MOVE_ALIAS, alias, (f"move alias {alias} here from collection {at}",), {"from": at})
            for alias, at in moved.items()
        ),
        *(Step(Action.DELETE_ALIAS, alias, (f"delete alias {alias}",)) for alias in sorted(outdated)),
    ]
