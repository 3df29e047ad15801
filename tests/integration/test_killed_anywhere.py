"""The operator dies of SIGKILL before and after each call that the life of a collection and its points consists of.

The calls are found by recording undisturbed lives at run time. Each call is then the end of an operator: just before
the server sees it and, if it writes, also when the server did it and the operator has not heard so. (A call that only
reads leaves the world as it was, so after it is before the next.) Another operator is started, and what was going on
must end as if nothing had happened: what is declared is there, foreign points are untouched, nothing is left behind.

A life is a row of phases. A kill has its phase for itself, so that it meets the world that the recording met; kills in
different phases share a life, which saves most of the time.
"""

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest
from qdrant_client import models

from integration.conftest import StartOperator, StartProxy
from integration.world import Stored, collection, connection, has_reason, point, point_set
from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object, is_ready
from servers.operator import ForkedOperator, OperatorProcess
from servers.process import DidNotStart
from servers.proxy import Call, Cut, Proxy
from servers.qdrant import READING_METHODS, READING_POSTS, QdrantServer

PARTS: Final = 16
"""Parts of the whole, for parallel test processes."""
INSTALLATION: Final = "killed"
CONTESTED, FOREIGN = 7, 8
"""Points of another writer: one whose id the set declares too, and one that is no concern of anybody."""
UUID: Final = "5e1cb9a1-2f2a-4f0c-9b1e-0d4c2f5a7b11"
PATIENCE_SECONDS: Final = 20


class Moment(NamedTuple):
    """One call of a life, the same in each: names are replaced. occurrence: how many like it its phase had before."""

    phase: str
    server: str
    call: str
    occurrence: int

    @property
    def writes(self) -> bool:
        method, _, path = self.call.partition(" ")
        path = re.sub(r"^/collections/[^/]+", "/collections/{name}", path)
        asks = path in READING_POSTS | READING_METHODS or path.endswith("/selfsubjectaccessreviews")
        return method != "GET" and not (method == "POST" and asks)


class Kill(NamedTuple):
    """side: `before` the server sees the call, or `after` it did it."""

    moment: Moment
    side: str


Chosen = Callable[[Kill], bool]
"""Is it to be now?"""
Haste = list[tuple[str, Kill | None, str]]
"""Phases; where one is cut off by a kill, also the one that is declared instead of going on."""
Life = tuple[Kill, ...]
"""The kills that share a life, at most one in each phase."""


class Observer:
    """Sees all calls of an operator except its watches, and acts at a chosen one: once, and until the next choice."""

    def __init__(self, proxies: dict[str, Proxy]) -> None:
        self.names: dict[str, str] = {}
        """What is called differently in each life, and what stands for it in a moment."""
        self.moments: list[Moment] = []
        self._phase = ""
        self._chosen: Chosen | None = None
        self._act: Callable[[], object] = lambda: None
        self._seen: Counter[tuple[str, str]] = Counter()
        self._running: dict[tuple[str, int], Moment] = {}
        self._last = 0.0
        self._lock = threading.Lock()
        for server, proxy in proxies.items():
            proxy.before = self._hook(server, self._begins)
            proxy.after = self._hook(server, self._ends)

    def enter(self, phase: str, chosen: Chosen | None = None, act: Callable[[], object] = lambda: None) -> None:
        """A phase begins. act: is called at the chosen moment, and returns or raises like the hook of a proxy."""
        with self._lock:
            self._phase, self._chosen, self._act = phase, chosen, act
            self._seen.clear()

    async def acted(self) -> None:
        """Waits until the chosen moment has come."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._chosen is not None:
            assert time.monotonic() < deadline, f"the moment did not come; what came last: {self.moments[-40:]}"
            await asyncio.sleep(0.02)

    async def quiet(self, seconds: float) -> None:
        """Waits until the operator has said nothing for so long."""
        begun = time.monotonic()
        while time.monotonic() - max(begun, self._last) < seconds:
            assert time.monotonic() - begun < PATIENCE_SECONDS, f"never quiet; what came last: {self.moments[-40:]}"
            await asyncio.sleep(0.02)

    def _hook(self, server: str, sees: Callable[[str, Call], None]) -> Callable[[Call], None]:
        return lambda call: None if "watch=" in call.path else sees(server, call)

    def _begins(self, server: str, call: Call) -> None:
        with self._lock:
            told = f"{call.method} {call.path.partition('?')[0]}"
            for name, shown in self.names.items():
                told = told.replace(name, shown)
            moment = Moment(self._phase, server, told, self._seen[server, told])
            self._seen[server, told] += 1
            self._running[server, call.number] = moment
            self._last = time.monotonic()
            self.moments.append(moment)
        self._act_at(Kill(moment, "before"))

    def _ends(self, server: str, call: Call) -> None:
        with self._lock:
            moment = self._running.pop((server, call.number), None)
            self._last = time.monotonic()
        if moment is not None:
            self._act_at(Kill(moment, "after"))

    def _act_at(self, now: Kill) -> None:
        chosen = self._chosen
        if chosen is not None and chosen(now):
            try:
                self._act()
            finally:
                self._chosen = None


class Stage:
    """Where lives take place: one operator after another, in one namespace, seen by one observer."""

    def __init__(
        self,
        api: KubeApi,
        namespace: str,
        qdrant: QdrantServer,
        stored: Stored,
        proxies: dict[str, Proxy],
        operator: OperatorProcess,
    ) -> None:
        self.api = api
        self.namespace = namespace
        self.qdrant = qdrant
        self.stored = stored
        self.proxies = proxies
        self.operator = operator
        self.observer = Observer(proxies)
        self._numbers = itertools.count()

    def story(self, variant: str = "Delete") -> "LifeStory":
        """Another life, with names of its own."""
        story = LifeStory(self, variant, next(self._numbers))
        self.observer.names = {story.ledger: "LEDGER", story.name: "ZOO", self.namespace: "NS"}
        return story

    async def live(self, variant: str, kills: Life = (), *, again: int | None = None) -> None:
        """One life, and the declared state checked at the end of each phase.

        again: kill also the next operator, after so many writes and before one more.
        """
        story = self.story(variant)
        by_phase = {kill.moment.phase: kill for kill in kills}
        for phase in PHASES:
            kill = by_phase.get(phase)
            self.observer.enter(phase, kill.__eq__ if kill else None, self.kill)
            await story.begin(phase)
            if kill is not None:
                await self.observer.acted()
                await self._recover(phase, again)
            await story.end(phase)
            await self.observer.quiet(0.2)

    async def live_in_haste(self, path: Haste) -> None:
        """A life in which nothing that was cut off is waited for: the next thing is declared before the next operator
        starts.
        """
        story = self.story()
        for phase, kill, then in path:
            self.observer.enter(phase, kill.__eq__ if kill else None, self.kill)
            await story.begin(phase)
            if kill is not None:
                await self.observer.acted()
                await story.begin(then)
                self.observer.enter(then)
                self.operator.start()
            await story.end(then)
            await self.observer.quiet(0.2)

    async def _recover(self, phase: str, again: int | None) -> None:
        self.observer.enter(f"{phase}, once more", None if again is None else writes(again), self.kill)
        # It may be killed before it is ready.
        with contextlib.suppress(DidNotStart):
            self.operator.start()
        if again is not None:
            await self.observer.quiet(0.5)
            self.observer.enter(f"{phase}, in the end")
            if not self.operator.running:
                self.operator.start()

    def kill(self) -> None:
        """As a hook: the end of the operator, and of the call."""
        self.operator.kill()
        raise Cut


def writes(number: int) -> Chosen:
    """Before the write of that number, counted from 0."""
    numbers = itertools.count()
    return lambda now: now.side == "before" and now.moment.writes and next(numbers) == number


PHASES: Final = ("connect", "create", "fill", "reshape", "rewrite", "empty", "drop", "disconnect")


class Shape(NamedTuple):
    """What is declared of a collection, as far as it changes."""

    m: int
    indexes: dict[str, str]
    alias: str


class LifeStory:
    """What is declared in each phase, and what must be so at its end.

    variant: `Delete` and `Retain` are deletion policies; `gRPC` is `Delete` with points written over gRPC.
    """

    def __init__(self, stage: Stage, variant: str, number: int) -> None:
        self.api = stage.api
        self.namespace = stage.namespace
        self.qdrant = stage.qdrant
        self.stored = stage.stored
        self.name = f"zoo-{stage.namespace}-{number}"
        self.ledger = f"ledger-{stage.namespace}-{number}"
        self.policy = "Retain" if variant == "Retain" else "Delete"
        self.connection = connection(stage.namespace, stage.proxies["qdrant"].url, ledgerCollectionName=self.ledger)
        if variant == "gRPC":
            self.connection["spec"] |= {"preferGrpc": True, "grpcPort": stage.proxies["grpc"].port}
        self.foreign = ""
        self.incarnation = ""
        self.points: dict[Any, Object] = {}

    async def begin(self, phase: str) -> None:
        """Declare what the phase is about."""
        await getattr(self, f"begin_{phase}")()

    async def end(self, phase: str) -> None:
        """Wait until it is so, and look at all that must be so then."""
        await getattr(self, f"end_{phase}")()

    async def until(self, last: str) -> None:
        """All phases up to that one, undisturbed."""
        for phase in PHASES[: PHASES.index(last) + 1]:
            await self.begin(phase)
            await self.end(phase)

    # ---- the connection ----

    async def begin_connect(self) -> None:
        await self.api.apply(self.connection)

    async def end_connect(self) -> None:
        await self.api.wait_for("QdrantConnection", self.namespace, "main", is_ready)

    # ---- the collection ----

    async def begin_create(self) -> None:
        await self._apply_collection(Shape(m=24, indexes={"kind": "keyword", "year": "integer"}, alias="old"))

    async def end_create(self) -> None:
        await self._expect_ready_collection()

    async def begin_reshape(self) -> None:
        await self._apply_collection(Shape(m=32, indexes={"kind": "keyword", "text": "text"}, alias="new"))

    async def end_reshape(self) -> None:
        await self._expect_ready_collection()

    async def begin_drop(self) -> None:
        await self.api.delete("QdrantCollection", self.namespace, "zoo")

    async def end_drop(self) -> None:
        await self.api.wait_gone("QdrantCollection", self.namespace, "zoo")

        if self.policy == "Delete":
            assert self.name not in [each["name"] for each in self.qdrant.get("/collections")["collections"]]
            aliases = [each["alias_name"] for each in self.qdrant.get("/aliases")["aliases"]]
            assert not [alias for alias in aliases if alias.startswith(self.name)]
        else:
            assert self._mark()["released"] is True
            self._expect_collection(ledgers=0)
            await self._expect_points()

    # ---- the points ----

    async def begin_fill(self) -> None:
        await self._write_foreign_points()
        await self.apply_points(FIRST)

    async def end_fill(self) -> None:
        await self.expect_ready_points()

    async def begin_rewrite(self) -> None:
        await self.apply_points(SECOND)

    async def end_rewrite(self) -> None:
        await self.expect_ready_points()

    async def begin_empty(self) -> None:
        await self.api.delete("PointSet", self.namespace, "animals")

    async def end_empty(self) -> None:
        await self.api.wait_gone("PointSet", self.namespace, "animals")

        if self.policy == "Delete":
            self.points = {}
        await self._expect_points()
        assert not await self.stored.exists(self.ledger) or await self.stored.count(self.ledger) == 0
        self._expect_collection(ledgers=0)

    # ---- the end ----

    async def begin_disconnect(self) -> None:
        await self.api.delete("QdrantConnection", self.namespace, "main")

    async def end_disconnect(self) -> None:
        await self.api.wait_gone("QdrantConnection", self.namespace, "main")

    # ---- how it is done and seen ----

    async def _apply_collection(self, shape: Shape) -> None:
        self.shape = shape
        spec: Object = {
            "collectionName": self.name,
            "deletionPolicy": self.policy,
            "vectors": [
                {"name": "text", "size": 3, "distance": "Dot"},
                {"name": "image", "size": 2, "distance": "Dot"},
            ],
            "hnswConfig": {"m": shape.m},
            "payloadIndexes": [{"field": field, "schema": {"type": type}} for field, type in shape.indexes.items()],
            "aliases": [f"{self.name}-{shape.alias}"],
        }
        await self.api.apply(collection(self.namespace, "zoo", **spec))

    async def _expect_ready_collection(self) -> None:
        await self.api.wait_for("QdrantCollection", self.namespace, "zoo", is_ready)

        self._expect_collection(ledgers=1 if self.foreign else 0)
        assert self._mark()["incarnation"] == (self.incarnation or self._mark()["incarnation"])
        self.incarnation = self._mark()["incarnation"]
        if self.foreign:
            await self._expect_points()

    def _expect_collection(self, *, ledgers: int) -> None:
        """As declared, and nothing besides. ledgers: how many sets are registered with it."""
        found = self.qdrant.get(f"/collections/{self.name}")
        assert found["config"]["hnsw_config"]["m"] == self.shape.m
        assert {field: index["data_type"] for field, index in found["payload_schema"].items()} == self.shape.indexes
        aliases = self.qdrant.get(f"/collections/{self.name}/aliases")["aliases"]
        assert [each["alias_name"] for each in aliases] == [f"{self.name}-{self.shape.alias}"]
        registered = [key for key in found["config"]["metadata"] if key.startswith("vectorops.dev/ledger/")]
        assert len(registered) == ledgers

    def _mark(self) -> Any:
        return self.qdrant.get(f"/collections/{self.name}")["config"]["metadata"]["vectorops.dev/mark"]

    async def apply_points(self, points: dict[Any, Object]) -> None:
        """Declare these, and the contested one."""
        self.points = points
        contested = point(CONTESTED, text=[9, 9, 9], payload={"by": "us"})
        declared = [*points.values(), contested]
        await self.api.apply(point_set(self.namespace, "animals", "zoo", declared, deletionPolicy=self.policy))

    async def _write_foreign_points(self) -> None:
        await self.stored.client.upsert(
            self.name,
            [
                models.PointStruct(id=id, vector={"text": [0.1, 0.2, 0.3]}, payload={"by": "another", "n": [1.0, {}]})
                for id in (CONTESTED, FOREIGN)
            ],
            wait=True,
        )
        self.foreign = self._foreign_points()

    def _foreign_points(self) -> str:
        """As Qdrant spells them, to the last digit."""
        body = {"ids": [CONTESTED, FOREIGN], "with_payload": True, "with_vector": True}
        answer = httpx.post(
            f"{self.qdrant.url}/collections/{self.name}/points", json=body, verify=False
        ).raise_for_status()
        return json.dumps(sorted(answer.json()["result"], key=lambda found: found["id"]))

    async def expect_ready_points(self) -> None:
        """Wait until the declared points are stored; then no others may be."""
        found = await self.api.wait_for("PointSet", self.namespace, "animals", has_reason("PointConflicts"))

        counts = {"desired": len(self.points) + 1, "synced": len(self.points), "failed": 0, "conflicts": 1}
        assert found["status"]["points"] == counts
        assert [failure["id"] for failure in found["status"]["failures"]] == [str(CONTESTED)]
        await self._expect_points()
        assert await self.stored.count(self.ledger) == 3

    async def _expect_points(self) -> None:
        """As declared, the foreign ones as they were, and no others."""
        assert self._foreign_points() == self.foreign
        found = await self.stored.points(self.name)
        ours = {id: (found[id].vector, found[id].payload) for id in found.keys() - {CONTESTED, FOREIGN}}
        assert ours == {
            id: (
                {name: vector["values"] for name, vector in declared["vectors"].items()},
                declared.get("payload", {}),
            )
            for id, declared in self.points.items()
        }


FIRST: Final = {
    1: point(1, text=[1, 0, 0], image=[1, 1], payload={"kind": "lion", "year": 1}),
    2: point(2, text=[0, 1, 0], payload={"kind": "ant"}),
    3: point(3, text=[0, 0, 1]),
    UUID: point(UUID, text=[1, 1, 0], payload={"kind": "bee", "old": True}),
}
SECOND: Final = {
    # A vector goes, a vector changes, a payload changes, a point goes, a point comes, a point stays.
    1: point(1, text=[1, 0, 0], payload={"kind": "lion", "year": 1}),
    2: point(2, text=[0, 2, 0], payload={"kind": "ant"}),
    UUID: point(UUID, text=[1, 1, 0], payload={"kind": "bee", "new": [1, 2]}),
    4: point(4, text=[4, 0, 0]),
}


@pytest.fixture
async def stage(
    api: KubeApi,
    namespace: str,
    kube: KubeServer,
    qdrant: QdrantServer,
    stored: Stored,
    start_proxy: StartProxy,
    tmp_path: Path,
) -> AsyncIterator[Stage]:
    """A stage with a running operator."""
    proxies = {
        "kube": start_proxy(kube.url, tls=kube.tls),
        "qdrant": start_proxy(qdrant.url),
        "grpc": start_proxy(f"127.0.0.1:{qdrant.grpc_port}"),
    }
    kubeconfig = kube.kubeconfig(proxies["kube"].url)
    operator = ForkedOperator(tmp_path, kubeconfig=kubeconfig, installation=INSTALLATION, namespaces=[namespace])
    operator.start()
    stage = Stage(api, namespace, qdrant, stored, proxies, operator)
    # What it asks at its start is no part of a life.
    await stage.observer.quiet(0.5)
    yield stage
    operator.kill()


@pytest.fixture
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all test processes of this run."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def recorded(stage: Stage, variant: str, folder: Path) -> list[Moment]:
    """The moments of an undisturbed life, recorded once for all test processes, so that their slices fit together."""
    file = folder / f"moments-{variant}.json"
    with locked(folder / f"moments-{variant}.lock"):
        if not file.exists():
            stage.observer.moments.clear()
            await stage.live(variant)
            file.write_text(json.dumps(stage.observer.moments))
        return [Moment(*fields) for fields in json.loads(file.read_text())]


def kills(moments: list[Moment]) -> list[Kill]:
    """Before each, and after each that writes."""
    return [
        Kill(moment, side) for moment in moments for side in ("before", "after") if side == "before" or moment.writes
    ]


def lives(kills: list[Kill]) -> list[Life]:
    """As few lives as can hold them."""
    rows = ([kill for kill in kills if kill.moment.phase == phase] for phase in PHASES)
    return [tuple(kill for kill in row if kill is not None) for row in itertools.zip_longest(*rows)]


@pytest.mark.timeout(300)
@pytest.mark.uncounted
@pytest.mark.parametrize("part", range(PARTS))
async def test_killed_at_any_call_of_a_life(stage: Stage, shared_folder: Path, part: int) -> None:
    every = await recorded(stage, "Delete", shared_folder)
    retained = await recorded(stage, "Retain", shared_folder)
    over_grpc = [moment for moment in await recorded(stage, "gRPC", shared_folder) if moment.server == "grpc"]

    for variant, moments in (
        ("Delete", every),
        ("Retain", [moment for moment in retained if moment.phase in {"empty", "drop"}]),
        ("gRPC", over_grpc),
    ):
        for life in lives(kills(moments))[part::PARTS]:
            await stage.live(variant, life)


@pytest.mark.timeout(300)
@pytest.mark.uncounted
@pytest.mark.parametrize("again", range(6))
async def test_killed_again_while_it_recovers(stage: Stage, shared_folder: Path, again: int) -> None:
    moments = [moment for moment in await recorded(stage, "Delete", shared_folder) if moment.writes]

    for life in lives([Kill(moment, "after") for moment in moments])[again::6]:
        await stage.live("Delete", life, again=again)


@pytest.mark.timeout(300)
@pytest.mark.uncounted
@pytest.mark.parametrize("part", range(PARTS))
async def test_what_was_half_done_goes_when_it_is_no_longer_declared(
    stage: Stage, shared_folder: Path, part: int
) -> None:
    """The next operator never sees what the former one was doing; it must know all the same."""
    writes = [moment for moment in await recorded(stage, "Delete", shared_folder) if moment.writes]
    creating, filling, reshaping, rewriting = (
        [Kill(moment, "after") for moment in writes if moment.phase == phase]
        for phase in ("create", "fill", "reshape", "rewrite")
    )

    paths = [
        *(haste("connect", (kill, "drop"), "disconnect") for kill in creating),
        *(haste("connect", (kill, "reshape"), "fill", "empty", "drop", "disconnect") for kill in creating),
        *(haste("connect", "create", (kill, "create"), "drop", "disconnect") for kill in reshaping),
        *(haste("connect", "create", (kill, "empty"), "drop", "disconnect") for kill in filling),
        *(haste("connect", "create", (kill, "rewrite"), "empty", "drop", "disconnect") for kill in filling),
        *(haste("connect", "create", "fill", (kill, "empty"), "drop", "disconnect") for kill in rewriting),
    ]
    for path in paths[part::PARTS]:
        await stage.live_in_haste(path)


def haste(*steps: str | tuple[Kill, str]) -> Haste:
    return [(step, None, step) if isinstance(step, str) else (step[0].moment.phase, step[0], step[1]) for step in steps]


def write_of_points(now: Kill) -> bool:
    """In the middle of a window: its slot is open, points are about to be written."""
    return now == Kill(Moment("rewrite", "qdrant", "PUT /collections/ZOO/points/vectors", 0), "before")


@pytest.mark.parametrize("connections", ["kept", "lost"])
async def test_frozen_during_a_sync_it_goes_on(stage: Stage, connections: str) -> None:
    """SIGSTOP, as by a node that hangs."""
    story = stage.story()
    await story.until("reshape")
    stage.observer.enter("rewrite", write_of_points, stage.operator.pause)

    await story.begin("rewrite")
    await stage.observer.acted()
    if connections == "lost":
        for proxy in stage.proxies.values():
            proxy.cut()
    await asyncio.sleep(1)
    stage.operator.resume()

    await story.end("rewrite")


async def test_what_a_frozen_operator_still_writes_after_another_took_over_is_put_right(
    stage: Stage, start_operator: StartOperator
) -> None:
    """Two at a time, as when a node is believed to be dead. The request that it was about to send arrives last."""
    story = stage.story()
    await story.until("reshape")
    other = start_operator(installation=INSTALLATION)
    await stage.observer.quiet(0.5)
    other.pause()
    frozen, goes_on = threading.Event(), threading.Event()

    def freeze() -> None:
        stage.operator.pause()
        frozen.set()
        goes_on.wait(PATIENCE_SECONDS)

    stage.observer.enter("rewrite", write_of_points, freeze)
    await story.begin("rewrite")
    await asyncio.to_thread(frozen.wait, PATIENCE_SECONDS)
    other.resume()
    await story.end("rewrite")
    await story.apply_points(FIRST)
    await story.expect_ready_points()
    stage.operator.resume()
    goes_on.set()
    await stage.observer.acted()
    await stage.observer.quiet(2)

    await story.expect_ready_points()


async def test_asked_to_end_during_a_sync_it_finishes_it(stage: Stage) -> None:
    """SIGTERM, as in every rollout."""
    story = stage.story()
    await story.until("reshape")

    def ask_to_end() -> None:
        stage.operator.signal(signal.SIGTERM)
        time.sleep(1)

    stage.observer.enter("rewrite", write_of_points, ask_to_end)
    await story.begin("rewrite")
    await stage.observer.acted()
    assert stage.operator.wait(within_seconds=PATIENCE_SECONDS) == 0

    await story.end("rewrite")
    stage.observer.enter("afterwards")
    stage.operator.start()
    await stage.observer.quiet(1)
    assert [moment for moment in stage.observer.moments if moment.phase == "afterwards" and moment.writes] == []


async def test_asked_to_end_while_qdrant_hangs_it_ends_and_the_next_one_finishes(stage: Stage) -> None:
    """The drain has an end, or the kubelet would use SIGKILL."""
    story = stage.story()
    await story.until("reshape")
    stage.operator.stop()
    stage.operator.command.append("--drain-seconds=1")
    stage.operator.start()
    await stage.observer.quiet(0.5)
    stage.observer.enter("rewrite", write_of_points, stage.proxies["qdrant"].blackhole)

    await story.begin("rewrite")
    await stage.observer.acted()
    assert stage.operator.stop(within_seconds=PATIENCE_SECONDS) == 0
    stage.proxies["qdrant"].cut()
    stage.proxies["qdrant"].restore()
    stage.operator.start()

    await story.end("rewrite")
