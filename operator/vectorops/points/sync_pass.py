"""What happens once for a set: its ledger is found, inherited, made again, cut into parts, registered, and says at the
end how the pass went.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from vectorops.api.reasons import Reason
from vectorops.errors import Rejected, Terminal, Transient
from vectorops.ledger.collection import ensure_ledger_collection, ledger_collections
from vectorops.ledger.lifecycle import initial_ledger, register, regrow, require_shard_key
from vectorops.ledger.records import Ledger, Part, join_parts
from vectorops.ledger.store import LedgerStore
from vectorops.points.part import (
    Judge,
    Judgment,
    View,
    compare,
    record_found,
    recover_part,
    require_replayed,
    require_uncontested,
    written_perhaps,
)
from vectorops.points.replaced import Replaced, judge
from vectorops.points.stage import Staged
from vectorops.points.synced import Synced
from vectorops.points.target import GivenUp, Target
from vectorops.points.window import BAD_CONTENT


@dataclass(slots=True)
class Pass:
    """One pass over a set: what was found of the set as a whole, and how far the pass is."""

    store: LedgerStore
    """Of the first part; `at` gives that of another."""
    target: Target
    staged: Staged
    given_up: GivenUp
    first: Ledger | None = None
    """The first part as stored; None while there is no ledger."""
    initial: Sequence[Ledger] = ()
    """By part, what a set without a ledger begins with."""
    marked: bool = True
    """Did a mark tell the physical collection from the next since the ledger was begun?"""
    verdict: Judgment | None = None
    """Of all parts together, where one part cannot judge alone."""
    owned: bool = False
    """Is the head ours, and the ledger registered?"""
    owning: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while they become so: parts are written at the same time."""

    @property
    def parts(self) -> list[Part]:
        """All parts of the ledger, or those that it will have."""
        return (self.first.part if self.first else Part(self.staged.bits)).siblings

    def at(self, part: Part) -> LedgerStore:
        """The store of a part."""
        return self.store.at(part)

    async def find_ledger(self) -> None:
        """Reads the first part; if there is no ledger, finds out what the set begins with. Writes nothing."""
        store, target = self.store, self.target
        self.first = await read_sure(store)
        self.marked = target.marked
        if self.first is not None:
            require_shard_key(store, self.first)
            await store.require_parts(self.first)
            return
        if target.registered is not False:
            await _require_not_elsewhere(store, target.elsewhere)
        parts = Part(self.staged.bits).siblings
        declared = map(self.staged.ids, parts)
        lost = target.registered is True
        begun = await initial_ledger(store, target.names, declared, self.recover, lost=lost, previous=target.previous)
        self.initial = begun.split(self.staged.bits)
        if begun.entries:
            # Inherited from the time when the collection was its user's, it may be another one.
            former = [key for key in target.previous if key.incarnation != store.key.incarnation]
            self.marked = target.marked and not any([await replace(store, key=key).exists() for key in former])

    async def recover(self, ledger: Ledger) -> Ledger:
        """See `lifecycle.Recover`."""
        ids = sorted(set(written_perhaps(ledger)), key=str)
        touched = await self.store.database.points(self.target.collection, ids, payload=True, vectors=True)
        declaration = self.staged.declaration(ledger.part, ids)
        return recover_part(ledger.align(self.target.names), declaration, touched, self.target.schema)

    async def compare_part(self, part: Part, judge: Judge | None = None, *, again: bool = False) -> View:
        """What there is to do about one part; writes nothing. again: it may have been written in this pass."""
        if self.first is None:
            return await self._compare(part, None, self.initial[part.number], judge)
        is_known = part == self.first.part and not again
        ledger = self.first if is_known else await self.at(part).read_existing()
        return await self._compare(part, ledger, ledger, judge)

    async def compare_parts(self) -> AsyncIterator[View]:
        """What there is to do about each part, one after another; writes nothing."""
        for part in self.parts:
            yield await self.compare_part(part)

    async def compare_grown(self) -> AsyncIterator[View]:
        """The same of the parts that the ledger will have when it has grown."""
        assert self.first is not None
        bits = self.staged.bits
        more = bits - self.first.part.bits
        for part in self.parts:
            ledger = self.first if part == self.first.part else await self.at(part).read_existing()
            known = await self.recover(ledger)
            for piece in known.split(bits)[part.number << more : (part.number + 1) << more]:
                yield await self._compare(piece.part, piece, piece)

    async def _compare(self, part: Part, ledger: Ledger | None, known: Ledger, judge: Judge | None = None) -> View:
        if judge is None and not self.marked:
            judge = self._judge_alone if self.verdict is None else self._repeat_verdict
        return await compare(self.at(part), self.target, self.staged, ledger, known, self.given_up, judge)

    async def _judge_alone(self, evidence: Replaced, ledger: Ledger) -> Judgment:
        return await self._judge([evidence], ledger)

    async def _repeat_verdict(self, _evidence: Replaced, _ledger: Ledger) -> Judgment:
        return self.verdict or Judgment()

    async def _judge(self, evidence: Sequence[Replaced], ledger: Ledger) -> Judgment:
        found = judge(evidence, ledger.created_at, self.store.created_at)
        return Judgment(found, found is not None and await self.target.approves(found.digest))

    async def judge_all(self) -> None:
        """Finds out from all parts together whether the collection is another one, before any of them is written."""
        if self.marked or (len(self.parts) == 1 and not self.must_grow):
            return
        evidence: list[Replaced] = []
        last: list[Ledger] = []

        async def gather(found: Replaced, ledger: Ledger) -> Judgment:
            evidence.append(found)
            last.append(ledger)
            return Judgment()

        for part in self.parts:
            await self.compare_part(part, gather)
        self.verdict = await self._judge(evidence, last[0])

    @property
    def must_grow(self) -> bool:
        """Is the ledger to be cut into more parts?"""
        return self.first is not None and self.first.part.bits < self.staged.bits

    async def grow(self) -> None:
        """Cuts the ledger into more parts if the source wants more."""
        if self.must_grow:
            assert self.first is not None
            self.first = await regrow(self.store, self.first, self.recover, self.staged.bits)

    async def take_first(self) -> None:
        """Makes us the writer of the head, before anything is compared that the revision is to speak of: a former
        writer then opens no window any more, so none comes between the comparison of a part and the record.
        """
        if self.first is None or self.first.token == self.store.writer:
            return
        if self.first.part.bits:
            await self._take_head(self.first.part)
            # One by one, each that is written would be compared twice.
            await self.store.take_parts(self.first.part)
            self.first = await self.at(self.first.part).read_existing()
        else:
            self.first = await self.store.take(self.first)

    async def _take_head(self, part: Part) -> None:
        """Of a ledger in several parts; if it is not ours already."""
        head = await self.store.read_head()
        if head is None or head.get("token") != self.store.writer:
            await self.store.take_head()
            await self.at(part).remove_older(part.generation)

    async def make_ours(self, part: Part, view: View) -> tuple[Part, View]:
        """Makes us the writer of the part, without an open window; compares again if somebody else was.

        Returns the part, whose generation is known once the ledger was made.
        """
        if self.owned:
            return await self._make_ours(part, view)
        async with self.owning:
            return await self._make_ours(part, view)

    async def _make_ours(self, part: Part, view: View) -> tuple[Part, View]:
        ledger = view.ledger
        if ledger is None:
            if self.first is None:
                await self._create()
                assert self.first is not None
            part = self.first.part._replace(number=part.number)
            ledger = self.first if part == self.first.part else await self.at(part).read_existing()
        else:
            if part.bits and not self.owned:
                await self._take_head(part)
            ledger = await self.at(part).take(ledger)
        if ledger.revision:
            # Until all is written, the ledger speaks of no revision of the source.
            await self.at(part).record_revision("", ledger.owned)
            known, ledger = ledger, replace(ledger, revision="")
            stored = ledger if view.ledger is known else view.ledger
            view = replace(view, ledger=stored, ours=replace(view.ours, revision=""))
            if self.first is not None:
                self.first = replace(self.first, revision="")
        is_untouched = ledger.through == 0 and ledger.pending is None
        if view.ledger is None and is_untouched and not view.ours.entries and not ledger.entries:
            # Nobody has written into the new ledger: what was compared before it was made still holds.
            view = replace(view, ledger=ledger)
        elif ledger is not view.ledger:
            taken, adopted = view.taken, view.adopted
            view = await self._compare(part, ledger, ledger)
            view = replace(view, taken=view.taken | taken, adopted=view.adopted | adopted)
        if view.held_back:
            return part, view
        if not self.owned:
            target = self.target
            await register(
                self.store, registered=target.registered, registration=target.registration, previous=target.previous
            )
            if target.registered is False:
                self.target = replace(target, registered=True)
            self.owned = True
        ours = await record_found(self.at(part), ledger, view.ours)
        await require_uncontested(self.at(part), ours, view)
        return part, replace(view, ours=ours)

    async def _create(self) -> None:
        store, begun = self.store, join_parts(self.initial)
        await ensure_ledger_collection(
            store.database, store.ledger_collection, replication_factor=self.target.replication_factor
        )
        self.first = await store.create(
            begun.names, begun.entries, late=begun.late, rebuilt=begun.rebuilt, bits=self.staged.bits
        )

    async def record_end(self, synced: Synced, revision: str, max_delete_percent: int) -> None:
        """Has the ledger say which revision of the source is written whole (""; none); and, where deletions may be held
        back, how many points the set owns.
        """
        first = self.first
        if first is None or synced.replaced is not None:
            return
        owned = None
        if max_delete_percent < 100:
            held = synced.held_deletions
            owned = held.owned if held is not None else synced.total - synced.failed - synced.conflicting
        elif not revision:
            return
        if (first.revision, first.owned) == (revision, owned):
            return
        if not self.owned:
            await (self.store.take_head() if first.part.bits else self.store.take(first))
        await self.at(first.part).record_revision(revision, owned)

    async def restate_head(self) -> None:
        """Has the head of a ledger in several parts say what it should, once they do."""
        first = self.first
        if first is None or not first.part.bits or self.store.says_the_same(first, self.target.names):
            return
        if not self.owned:
            await self.store.take_head()
        await self.at(first.part).restate_head(replace(first, names=self.target.names))


async def require_not_users(this: Pass, view: View) -> None:
    """A collection of its user's names no ledger: what looks like another writer's point may be our own."""
    if this.target.registered is None and view.diff.conflicts:
        await _require_not_elsewhere(this.store, await ledger_collections(this.store.database))


async def read_sure(store: LedgerStore) -> Ledger | None:
    """The ledger. Raises what `LedgerStore.read` raises, if it can be sure of it."""
    try:
        return await store.read()
    except Terminal:
        await require_replayed(store.database)
        raise


@contextmanager
def collection_may_go() -> Iterator[None]:
    """The collection, or a point that we are changing, may go away under our hands: then it helps to try again."""
    try:
        yield
    except Rejected as error:
        if error.status in BAD_CONTENT:
            raise
        raise Transient(Reason.COLLECTION_NOT_READY, f"the collection changed meanwhile: {error.message}") from error


async def _require_not_elsewhere(store: LedgerStore, names: Iterable[str]) -> None:
    """A ledger that is in another collection is not lost: to make a second one would leave two that contradict each
    other.
    """
    for name in names:
        if await replace(store, ledger_collection=name).exists():
            raise Terminal(
                Reason.INVALID_SPEC,
                f"the ledger of this set is in collection {name!r}, and not in {store.ledger_collection!r}: "
                "ledgerCollectionName of the QdrantConnection cannot be changed. Put it back; nothing is written "
                "until then",
            )
