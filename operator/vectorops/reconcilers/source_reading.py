"""From the source of a set to its staged points, or to the finding that nothing has changed.

The cheapest question comes first: what does a listing say, then the bytes, then the rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event

from vectorops import metrics
from vectorops.api.meta import RECONCILE, SOURCE_LABEL, VERIFY, Resource
from vectorops.api.pointset import PointSetSpec, SourceStatus
from vectorops.api.reasons import Reason
from vectorops.api.source import Mapping, Source
from vectorops.errors import GaveWay, Terminal, Transient
from vectorops.ledger.records import MOST_BITS, WHOLE, part_of
from vectorops.points.mapping import Mapper
from vectorops.points.part_verification import is_part_as_written, share_of_parts
from vectorops.points.pass_progress import PassProgress
from vectorops.points.reading import (
    RowsRevision,
    digest_of_content,
    digest_of_declaration,
    digest_of_listing,
    read_files,
)
from vectorops.points.source_memory import RememberedSource
from vectorops.points.staging import Sourced, Staging
from vectorops.points.staging_folder import StagingSpace
from vectorops.points.verification import first_position
from vectorops.qdrant.database import UNNAMED
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.durations import seconds_of
from vectorops.reconcilers.pace import Pace
from vectorops.reconcilers.secrets import SecretReader
from vectorops.reconcilers.situation import Situation
from vectorops.sources.base import Fetched, FetchLimits, OpenedSource, SourceFile
from vectorops.sources.opening import open_source, secret_names
from vectorops.words import counted


def vectors_of_embedded_columns(mapping: Mapping | None) -> frozenset[str]:
    """Names of the vectors whose texts the mapping makes."""
    vectors = (mapping.vectors if mapping is not None else None) or ()
    return frozenset(one.name or UNNAMED for one in vectors if one.column is None)


@asynccontextmanager
async def opened_source(context: Context, resource: Resource, declared: Source) -> AsyncIterator[OpenedSource]:
    """The source of a set, closed at the end. Raises what `open_source` raises, Transient SecretNotFound."""
    reader = SecretReader(context.cluster, resource)
    secrets = {place: await reader.read_all(f"spec.{place}", name) for place, name in secret_names(declared).items()}
    settings = context.sources
    found = open_source(
        declared,
        secrets=secrets,
        allowed_hosts=settings.allowed_hosts,
        folder=partial(settings.folder_of, resource.ref),
        confined=settings.is_confined,
        config_maps=partial(context.cluster.config_maps, resource.meta.namespace),
        # Of a file whose size no server tells, no more is written than the folder may hold.
        limits=FetchLimits(file_bytes=settings.staging_bytes),
    )
    try:
        yield found
    finally:
        await found.close()


@dataclass(slots=True)
class SourceReading:
    """One reconciliation of one set."""

    context: Context
    resource: Resource
    spec: PointSetSpec
    found: Situation
    source: OpenedSource
    pace: Pace
    progress: PassProgress
    files: Sequence[SourceFile] = ()
    revision: RowsRevision = field(default_factory=lambda: RowsRevision("", ""))
    rebuilt: bool = False
    """Was the ledger lost once?"""

    @property
    def interval(self) -> float | None:
        """Seconds until the source is listed again; None: at the next resync."""
        return seconds_of(self.spec.refresh_interval)

    async def is_unchanged(self) -> bool:
        """Does the source say that nothing has changed, and does a share of what is stored agree?"""
        memory, meta = self.context.source_memory, self.resource.meta
        known = memory.known(self.resource.ref, meta.uid, meta.generation)
        now = asyncio.get_running_loop().time()
        written = await self._written()
        if written is not None and written.declaration != self._declaration():
            # Not only the spec decides what becomes of a row: the collection has another model, or other vectors.
            written = None
        if written is None:
            memory.forget(self.resource.ref)
        elif known is not None and self._is_recent(known, now):
            if await self._verify(known):
                return True
            written = None
        self.files = await self.source.list()
        listing = digest_of_listing(self.files)
        self.revision = RowsRevision(self._declaration(), listing)
        if written is None or not listing or written.listing != listing:
            return False
        return await self._verify(replace(known, listed=now) if known is not None else self._remembered_now())

    def _is_recent(self, known: RememberedSource, now: float) -> bool:
        """Was the source listed within the refresh interval, and did nobody ask for more?"""
        asked = self.resource.meta.annotations.get(RECONCILE)
        is_answered = asked is None or self.resource.status.get("lastHandledReconcileAt") == asked
        # A change of a ConfigMap wakes the set, and a list of them costs little.
        wakes_us = self.spec.source is not None and self.spec.source.config_maps is not None
        return is_answered and not wakes_us and self.interval is not None and now - known.listed < self.interval

    async def _written(self) -> RowsRevision | None:
        """The revision that was written whole; None if something else is to be put right, or if a person asked."""
        store, target, status = self.found.store, self.found.target, self.resource.status
        asked = self.resource.meta.annotations.get(VERIFY)
        is_settled = (
            (asked is None or status.get("lastHandledVerifyAt") == asked)
            and not status.get("plan")
            and not self.context.source_memory.is_suspected(self.resource.ref)
            and status.get("observedGeneration") == self.resource.meta.generation
            and (self.resource.ready or self._failed_only_in_source() or self._was_whole())
        )
        if not is_settled:
            return None
        head = await store.read_head()
        if head is None or target.registered is False or target.hides:
            return None
        stated = (head.get("deletion_policy"), head.get("created_at") or "", head.get("shard_key", ""))
        if stated != (store.deletion_policy, store.created_at, store.shard_key):
            return None
        self.rebuilt = bool(head.get("rebuilt"))
        written = RowsRevision.parse(head.get("revision"))
        # A process that ended between the two writes has left a status that speaks of the revision before.
        is_told = written is not None and written.content == (status.get("source") or {}).get("revision")
        return written if is_told else None

    def _failed_only_in_source(self) -> bool:
        """The ledger says so, too: it has the revision only where nothing else failed."""
        ready = self.resource.condition("Ready")
        return ready is not None and ready["reason"] == Reason.POINTS_FAILED.value

    def _was_whole(self) -> bool:
        """Was every point as declared, before something kept the set from being compared? The ledger says whether that
        is still so.
        """
        counts = self.resource.status.get("points") or {}
        return counts.get("failed") == 0 and counts.get("conflicts") == 0

    def _declaration(self) -> str:
        mapping, found = self.spec.mapping, self.found
        others = (self.spec.effective_id_format, self.spec.store_id_as, self.spec.effective_allow_empty_source)
        dumped = mapping.dump() if mapping is not None else None
        return digest_of_declaration(dumped, found.target.schema, found.embedding.identities, *others)

    async def _verify(self, known: RememberedSource) -> bool:
        """Are some parts as the ledger says? The next verification takes the next ones."""
        store, target = self.found.store, self.found.target
        head = await store.read_head()
        first = part_of(head) if head is not None else None
        if first is None:
            return False
        count = len(first.siblings)
        shares = share_of_parts(count, known.next_part % count)
        for number in shares:
            part = first._replace(number=number) if first.bits else WHOLE
            if not await is_part_as_written(store.at(part), target):
                self.context.source_memory.suspect(self.resource.ref)
                return False
        following = RememberedSource(known.uid, known.generation, known.listed, shares[-1] + 1)
        self.context.source_memory.remember(self.resource.ref, following)
        return True

    async def stage(self, space: StagingSpace) -> Sourced | None:
        """All points of the source; None: the files have the same bytes as those that were written.

        Raises Transient SourceChanged if a file changed meanwhile, Terminal SourceEmpty, and what sources, formats and
        mapping raise.
        """
        fetched = await self.pace.watch(self._fetch(space))
        content = digest_of_content(fetched)
        revision = self.revision = RowsRevision(self._declaration(), digest_of_listing(self.files), content)
        written = await self._written()
        is_same = written is not None and (written.declaration, written.content) == (revision.declaration, content)
        # Where something differs, it may be in another part than in those that would be verified now.
        if is_same and not self._verifies() and await self._same_bytes():
            return None
        staged = await self.pace.watch(self._read(fetched, space))
        if list(await self.source.list()) != list(self.files):
            raise Transient(
                Reason.SOURCE_CHANGED, "the files of the source changed while they were read; reading them again"
            )
        if not staged.total and not self.spec.effective_allow_empty_source:
            found = f"the source has {counted(len(self.files), 'file')} and no rows" if self.files else self._no_file()
            raise Terminal(
                Reason.SOURCE_EMPTY,
                f"{found}: nothing is deleted. If all points are to go, set spec.allowEmptySource: true",
            )
        return staged

    def _no_file(self) -> str:
        """What matches nothing."""
        source = self.spec.source
        if source is not None and source.s3 is not None:
            return f"no object matches source.s3.url, {source.s3.url}"
        if source is not None and source.files is not None:
            return f"no file matches source.files.path, {source.files.path}"
        return f'no ConfigMap with the label {SOURCE_LABEL}: "true" has keys that source.configMaps matches'

    async def _same_bytes(self) -> bool:
        """The files have other versions and the same bytes: writes that down, if what is stored agrees."""
        if not await self._verify(self._remembered_now()):
            return False
        store = self.found.store
        ledger = await store.read_existing()
        await (store.take_head() if ledger.part.bits else store.take(ledger))
        await store.at(ledger.part).record_revision(str(self.revision), ledger.owned)
        return True

    def status(self, rows: int) -> SourceStatus:
        """What was read."""
        return SourceStatus(revision=self.revision.content, files=len(self.files), rows=rows)

    def remember(self) -> None:
        """Everything is as declared: the next reconciliation need not read it again."""
        self.context.source_memory.remember(self.resource.ref, self._remembered_now())

    def _remembered_now(self) -> RememberedSource:
        """Of a source that has just been listed. The verification begins anywhere: a process that is started often
        would never come to the last parts.
        """
        meta = self.resource.meta
        first = first_position(1 << MOST_BITS)
        return RememberedSource(meta.uid, meta.generation, asyncio.get_running_loop().time(), first)

    async def _fetch(self, space: StagingSpace) -> list[tuple[SourceFile, Fetched]]:
        sizes = [file.size for file in self.files]
        total = sum(size for size in sizes if size is not None) if None not in sizes else None
        self.progress.begin("Fetching", total)
        found = []
        # Of a folder, the files are read where they are.
        is_copied = self.spec.source is not None and self.spec.source.files is None
        for file in self.files:
            expected = (file.size or 0) if is_copied else 0
            space.take(expected)
            fetched = await self.source.fetch(file, space.path)
            size = fetched.path.stat().st_size
            space.give_back(expected)
            if fetched.is_temporary:
                space.take(size)
            self.progress.done += size
            found.append((file, fetched))
        return found

    async def _read(self, fetched: Sequence[tuple[SourceFile, Fetched]], space: StagingSpace) -> Sourced:
        target, embedding, spec = self.found.target, self.found.embedding, self.spec
        stopped = Event()

        def require_going_on() -> None:
            if stopped.is_set():
                raise GaveWay("the reading of the source was ended")

        def read() -> Sourced:
            mapper = Mapper(
                spec.mapping,
                target.schema,
                embedded=embedding.identities.keys(),
                left_out=target.left_out,
                id_format=spec.effective_id_format,
                store_id_as=spec.store_id_as,
            )
            staging = Staging(space, target.schema, embedding.identities)
            read_files(
                fetched,
                mapper,
                staging,
                space,
                file_format=spec.mapping.format if spec.mapping is not None else None,
                max_unpacked_bytes=self.context.sources.max_unpacked_bytes,
                progress=self.progress,
                require_going_on=require_going_on,
            )
            return staging.finish(verifies=self._verifies())

        # It may take minutes; a thread that nobody waits for must end before its folder goes.
        work = self.context.staging.readers.submit(copy_context().run, read)
        try:
            return await asyncio.shield(asyncio.wrap_future(work))
        finally:
            stopped.set()
            if not work.cancel():
                await asyncio.gather(asyncio.wrap_future(work), return_exceptions=True)

    def _verifies(self) -> bool:
        """Is everything to be compared, because a person asked for it, or because something differs?"""
        asked = self.resource.meta.annotations.get(VERIFY)
        is_asked = asked is not None and self.resource.status.get("lastHandledVerifyAt") != asked
        return is_asked or self.context.source_memory.is_suspected(self.resource.ref)


@asynccontextmanager
async def staged_source(
    context: Context, found: Situation, spec: PointSetSpec, declared: Source
) -> AsyncIterator[Sourced]:
    """All points of a source, whatever is known of it; they are gone at the end.

    Raises what `opened_source` and `SourceReading.stage` raise.
    """
    resource, progress = found.resource, PassProgress()
    pace = Pace(context.cluster, resource, context.turn)
    async with opened_source(context, resource, declared) as source:
        reading = SourceReading(context, resource, spec, found, source, pace, progress)
        reading.files = await source.list()
        with metrics.SYNCS.follow(resource.ref, progress), context.staging.space() as space:
            staged = await reading.stage(space)
            assert staged is not None, "without a status, nothing is known of the source"
            yield staged
