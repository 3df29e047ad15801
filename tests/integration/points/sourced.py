"""A set whose points come from a source, in several parts of the ledger, and a process that is killed in the middle."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from integration.points.scene import WRITES, Killed, Scene, point
from vectorops.api.meta import JsonObject
from vectorops.ledger.entries import part_numbers
from vectorops.ledger.lifecycle import read_all_parts
from vectorops.points.block import Block
from vectorops.points.embedding import AtSafePoint, go_on
from vectorops.points.staging import Staging
from vectorops.points.staging_folder import StagingFolder
from vectorops.points.sync import sync
from vectorops.points.synced import Synced
from vectorops.qdrant.database import Database, PointId

POINTS_OF_A_PART = 64
"""So few that 200 points make four parts."""

Call = Callable[[], Awaitable[None]]


def rows_of_edition(number: int) -> list[JsonObject]:
    """200 points. From one edition to the next, a third is changed, a tenth comes and a tenth goes."""
    first = 20 * number
    return [
        point(
            f"doc-{n}" if n % 5 == 0 else n,
            text=[1, n, number if n % 3 == 0 else 0],
            image=[n, 1] if n % 7 == number else None,
            n=n,
            **({"edition": number} if n % 4 == 0 else {}),
        )
        for n in range(first, first + 200)
    ]


class Mortal:
    """A database of a process that is killed: from then on it makes no call any more, in whatever task.

    at: the number of the writing call, from 1; 0: it lives. instead: called with the call, to be carried out or not;
    if it raises `Killed`, the process is dead. written: how often each point of the collection was written, by
    the kind of the call.
    """

    def __init__(
        self, database: Database, collection: str, *, at: int = 0, instead: Callable[[Call], Awaitable[None]] | None
    ) -> None:
        self._database = database
        self._collection = collection
        self._at = at
        self._instead = instead
        self._is_dead = False
        self.calls: list[str] = []
        self.written: Counter[tuple[str, PointId]] = Counter()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._database, name)
        if not callable(method) or name in {"with_shard_key", "close"}:
            return method

        async def call(*arguments: Any, **options: Any) -> Any:
            if self._is_dead:
                raise Killed
            if name not in WRITES:
                return await method(*arguments, **options)
            self.calls.append(f"{name} {arguments[0]}")

            async def carry_out() -> None:
                if arguments[0] == self._collection and name in {"upsert", "update_vectors", "change_payloads"}:
                    self.written.update((name, point.id) for point in arguments[1])
                await method(*arguments, **options)

            if len(self.calls) != self._at or self._instead is None:
                return await carry_out()
            try:
                return await self._instead(carry_out)
            except Killed:
                self._is_dead = True
                raise

        return call


async def staged_block(scene: Scene, points: Sequence[JsonObject]) -> Block:
    """What the mapping would make of such rows."""
    declared = list((await scene.declared(*points)).points.values())
    names = sorted({name for one in declared for name in one.data.vectors})
    texts = sorted({name for one in declared for name in one.texts})
    return Block(
        range(1, len(declared) + 1),
        [one.data.id for one in declared],
        [one.shown_id for one in declared],
        [one.data.payload for one in declared],
        {name: [one.data.vectors.get(name) for one in declared] for name in names},
        {name: [one.texts.get(name) for one in declared] for name in texts},
    )


async def sync_rows(
    scene: Scene,
    points: Sequence[JsonObject],
    revision: str = "",
    *,
    owner: str = "mine",
    database: Any = None,
    writer: str | None = None,
    pace: AtSafePoint = go_on,
    verifies: bool = False,
    max_delete_percent: int = 100,
) -> Synced:
    """A pass over a set with a source, by a process that was just started unless `writer` says which one it is."""
    block = await staged_block(scene, points)
    target = await scene.target(owner)
    with StagingFolder(None, 1 << 30).space() as space:
        staging = Staging(space, target.schema, {"text": scene.reader.identity})
        staging.begin("rows.parquet")
        staging.add(block)
        return await sync(
            scene.store(owner, writer=writer, database=database),
            target,
            staging.finish(verifies=verifies),
            scene.reader,
            pace=pace,
            max_delete_percent=max_delete_percent,
            revision=revision,
        )


async def revision_of(scene: Scene) -> str:
    """Which revision of the source the ledger says is written whole."""
    head = await scene.store().read_head()
    return str((head or {}).get("revision", ""))


async def open_windows(scene: Scene) -> list[int]:
    """Numbers of the parts whose window was left open."""
    return [ledger.part.number for ledger in await read_all_parts(scene.store()) if ledger.pending]


async def parts_written_twice(scene: Scene, *processes: Mortal) -> set[int]:
    """Numbers of the parts of which a point was written more than once in the same way."""
    total = sum((each.written for each in processes), Counter[tuple[str, PointId]]())
    bits = (await read_all_parts(scene.store()))[0].part.bits
    return set(part_numbers([id for (_, id), count in total.items() if count > 1], bits))
