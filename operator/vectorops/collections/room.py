"""Has Qdrant room for a second copy of a collection, as far as it can be known before it is filled?

Qdrant tells how much the vectors and payloads of a collection take (telemetry), and the limits of strict mode that the
new collection will have. It does not tell how much disk or memory is free: 1.16.3 names the sizes of the machine, which
are neither the container's nor the storage's. So a full disk is met only while the new collection is filled, as any
write meets it; readers stay on the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vectorops.api.meta import JsonObject
from vectorops.collections.resolve import Desired
from vectorops.collections.words import name_vector
from vectorops.qdrant.database import Database, StoredSizes
from vectorops.qdrant.observe import Observed
from vectorops.words import counted

COMPONENT_BYTES: Final[Mapping[str, int]] = {"float32": 4, "float16": 2, "uint8": 1}
"""Of a component of a dense vector, by datatype. Newer datatypes are smaller than the first."""
DEFAULT_COMPONENT_BYTES: Final = 4
LIMITS: Final = ("max_points_count", "max_collection_vector_size_bytes", "max_collection_payload_size_bytes")
"""Limits in `strict_mode_config`, replicas not counted: of points, bytes of vectors, bytes of payloads."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a second copy of a collection takes."""

    points: int
    """About how many; see `Observed.points`."""
    vector_bytes: int
    """Of all vectors whose size is known, in one replica."""
    payload_bytes: int | None
    """Of all payloads, in one replica; None if the server does not tell."""
    replicas: int
    """Copies of each point on the nodes of a distributed Qdrant."""
    unknown: tuple[str, ...] = ()
    """For people: what is in none of the numbers."""
    refusal: str = ""
    """For people: why it has no room, and what to do; "" if nothing is known against it."""

    @property
    def bytes(self) -> int:
        """What is known, in all replicas; indexes and quantized vectors come on top."""
        return (self.vector_bytes + (self.payload_bytes or 0)) * self.replicas

    @property
    def words(self) -> str:
        """`2,000 points, at least 1.2 GiB, and not counted: payloads`."""
        more = f", and not counted: {', '.join(self.unknown)}" if self.unknown else ""
        return f"{counted(self.points, 'point')}, at least {describe_bytes(self.bytes)}{more}"


async def find_room(database: Database, desired: Desired, observed: Observed) -> Room:
    """What a collection as declared takes that gets all points of an observed one. Raises what `database` raises."""
    return estimate_room(desired, observed, await database.stored_sizes(observed.name))


def estimate_room(desired: Desired, observed: Observed, sizes: StoredSizes | None) -> Room:
    """The same without talking to anyone. sizes: of the observed collection, or of a part of it; None: not told.

    Dense vectors: as many as there are of that name, or one for each point if the name is new. Other vectors, and
    payloads: as large as those that are stored.
    """
    unknown: list[str] = []
    points, scale = observed.points, observed.points / sizes.points if sizes is not None and sizes.points else 0.0
    vector_bytes, kept_names = 0.0, set[str]()
    others_bytes = sizes.vector_bytes if sizes is not None else 0
    for name, params in observed.vectors.items():
        if sizes is not None and not _has_rows(params):
            others_bytes -= sizes.vectors.get(name, 0) * _row_bytes(params)
    for name, params in {**desired.vectors, **desired.sparse_vectors}.items():
        before = observed.vectors.get(name, observed.sparse_vectors.get(name))
        if name in desired.vectors and not _has_rows(params):
            count = sizes.vectors.get(name, 0) * scale if sizes is not None and before is not None else points
            vector_bytes += count * _row_bytes(params)
        elif sizes is not None and before is not None and _has_rows(before) == _has_rows(params):
            kept_names.add(name)
        elif points:
            unknown.append(name_vector(name))
    if kept_names:
        vector_bytes += max(others_bytes, 0) * scale
    if sizes is None and points:
        unknown.append("payloads")
    payload_bytes = round(sizes.payload_bytes * scale) if sizes is not None else None
    found = (points, round(vector_bytes), payload_bytes or 0)
    # What others have set on the old collection stays.
    strict_mode: JsonObject = {**observed.config.get("strict_mode_config", {})}
    strict_mode |= desired.config.get("strict_mode_config", {})
    return Room(
        points,
        round(vector_bytes),
        payload_bytes,
        replicas=(desired.config.get("params") or {}).get("replication_factor") or observed.replication_factor,
        unknown=tuple(unknown),
        refusal=_refuse(strict_mode, dict(zip(LIMITS, found, strict=True))),
    )


def describe_bytes(count: float) -> str:
    """`512 B`, `1.2 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _refuse(strict_mode: Mapping[str, Any], needed: Mapping[str, int]) -> str:
    broken = [
        f"{limit} is {strict_mode[limit]:,}, and {count:,} are needed"
        for limit, count in needed.items()
        if isinstance(strict_mode.get(limit), int) and count > strict_mode[limit]
    ]
    if not broken or not strict_mode.get("enabled"):
        return ""
    return (
        f"the new collection has no room: in strictModeConfig, {'; '.join(broken)}: raise it, or declare fewer points"
    )


def _has_rows(params: Mapping[str, Any]) -> bool:
    """Has each vector a size of its own, as multi-vectors and sparse vectors have?"""
    return "size" not in params or "multivector_config" in params


def _row_bytes(params: Mapping[str, Any]) -> int:
    return int(params["size"]) * COMPONENT_BYTES.get(params.get("datatype", ""), DEFAULT_COMPONENT_BYTES)
