"""How a collection is replaced by another one behind its alias, and how far that is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vectorops.api.checks import ChecksStatus
from vectorops.api.meta import Model
from vectorops.api.rules import Matches

FieldPath = Annotated[str, Field(min_length=1, max_length=512, description="Path of a payload field.")]

GracePeriod = Annotated[
    str,
    Field(max_length=20),
    Matches(r"^([0-9]+(h|m|s))+$", "must be a duration such as 0s, 90s, 10m or 24h"),
]

MigrationPhase = Literal["Held", "Filling", "Checking", "GracePeriod", "RolledBack"]


class Migration(Model):
    """With `layout: Aliased`: how a change that cannot be made in place is made beside the old collection."""

    approval: Literal["Manual", "Auto"] | None = Field(
        default=None,
        description="Manual: a migration starts when its plan is approved. Auto: it starts by itself. Default: Manual.",
    )
    grace_period: GracePeriod | None = Field(
        default=None,
        description="How long the old collection is kept, and kept current, after readers were moved. 0s: it is "
        "deleted at once. Default: 24h.",
    )
    retire: Literal["Auto", "Manual"] | None = Field(
        default=None,
        description="Auto: the old collection is deleted when its grace period is over. Manual: only when that is "
        "approved. Default: Auto.",
    )
    others_points: Literal["Block", "Copy", "Leave"] | None = Field(
        default=None,
        description="What becomes of points that no PointSet declares. Block: there must be none. Copy: they are "
        "copied. Leave: the new collection does not get them. Default: Block.",
    )
    embed_from: Annotated[dict[str, FieldPath], Field(min_length=1, max_length=64)] | None = Field(
        default=None,
        description="With othersPoints: Copy, by the vector's name (empty for the unnamed one): the payload field that "
        "holds the text to embed where the vector of a point cannot be copied.",
    )

    @property
    def effective_approval(self) -> Literal["Manual", "Auto"]:
        return self.approval or "Manual"

    @property
    def effective_retire(self) -> Literal["Auto", "Manual"]:
        return self.retire or "Auto"

    @property
    def effective_others_points(self) -> Literal["Block", "Copy", "Leave"]:
        return self.others_points or "Block"

    @property
    def effective_grace_period(self) -> GracePeriod:
        return self.grace_period or "24h"


class MigrationEnd(Model):
    """One of the two collections of a migration."""

    name: str = Field(description="Name in Qdrant.")
    incarnation: str = Field(description="Random id of the physical collection.")


class Filled(Model):
    """How far the new collection is filled."""

    point_sets: int = Field(description="PointSets whose points are all in it.")
    of: int = Field(description="PointSets that are to fill it.")


class MigrationStatus(Model):
    """The migration under way, or the last one until its grace period is over."""

    phase: MigrationPhase = Field(
        description="Held: it waits for approval, or for what the message says. Filling, Checking: before readers are "
        "moved. GracePeriod: after that. RolledBack: readers were moved back."
    )
    from_: MigrationEnd | None = Field(default=None, alias="from", description="The collection that readers leave.")
    to: MigrationEnd | None = Field(default=None, description="The collection that they are moved to.")
    filled: Filled | None = Field(default=None, description="How far it is filled; absent after the switch.")
    checks: ChecksStatus | None = Field(default=None, description="How the checks came out.")
    since: str | None = Field(default=None, description="When the phase began (RFC 3339).")
    message: str | None = Field(default=None, description="What it waits for, or what comes next, in words.")
