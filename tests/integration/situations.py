"""Every reason of a condition as a resource has it in the API server, brought about by the real operator.

`record` walks through the situations; test_gitops.py keeps what it returns as test data of the health checks, and has
Argo CD and Flux judge it.
"""

import asyncio
import copy
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
from qdrant_client import models

from integration.conftest import StartOperator, StartProxy, StartQdrant
from integration.team import RECONCILE, Team, is_settled, message
from integration.world import (
    MARK,
    Stored,
    change_by_hand,
    collection,
    connection,
    make_by_hand,
    mark_of,
    point,
    point_set,
    put_by_hand,
    resource,
    secret,
)
from servers.certificates import CertificateAuthority
from servers.embeddings import Answer, EmbeddingServer
from servers.files import FileServer, Served
from servers.hub import ModelHub
from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object, condition, is_ready
from servers.process import free_port
from servers.proxy import Call, Cut
from servers.qdrant import QdrantServer, QdrantTls
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import ROLL_BACK, Resource
from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbedderSettings
from vectorops.embedders.pool import Embedders
from vectorops.local.cluster import LocalCluster
from vectorops.qdrant.connect import Credentials
from vectorops.qdrant.database import Database
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.driver import Driver

LEDGER: Final = "vectorops-ledger"
CONNECTION, COLLECTION, POINTS = "QdrantConnection", "QdrantCollection", "PointSet"
TIME: Final = "2026-01-01T00:00:00Z"
SMALL: Final = "team/small"
OF_THE_CLUSTER: Final = {"name": "shared", "kind": "ClusterQdrantConnection"}
INDEX: Final = {"field": "author", "schema": {"type": "keyword"}}
STAGING_BYTES: Final = 2**20

# What differs from run to run, and how it is written down.
VOLATILE: Final = (
    (re.compile(r'"grpcPort": \d+'), '"grpcPort": 6334'),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:6333"),
    (re.compile(r"(/\w[-\w.]*)+/no-folder/cache"), "/no-folder/cache"),
    (re.compile(r"/\w[-\w./]*/models\b"), "/models"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "0123456789ab"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "0123456789abcdef"),
    (re.compile(r"\bsha256:[0-9a-f]+"), "sha256:0123456789abcdef"),
    (re.compile(r"(?<=[a-z])-[0-9a-f]{8}\b"), "-01234567"),
    (re.compile(r'"latencyMs": [0-9.]+'), '"latencyMs": 1.5'),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00)"), TIME),
)


class Passing:
    """Something between the operator and Qdrant's REST API that answers some requests itself.

    answer: (method, path, body) to (status, JSON), or None to pass the request on. hold(): requests for a path wait.
    """

    def __init__(self, upstream: str) -> None:
        self.answer: Callable[[str, str, bytes], tuple[int, Any] | None] = lambda *_: None
        self._upstream = httpx.Client(base_url=upstream, timeout=60)
        self._held: dict[str, threading.Event] = {}
        self.url = ""

    def hold(self, path: str) -> threading.Event:
        """Holds requests whose path begins so, until the event is set."""
        return self._held.setdefault(path, threading.Event())

    def handle(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        for prefix, released in self._held.items():
            if path.startswith(prefix):
                released.wait(60)
        if (own := self.answer(method, path, body)) is not None:
            return own[0], json.dumps(own[1]).encode()
        passed = self.passed_on(method, path, body)
        return passed.status_code, passed.content

    def passed_on(self, method: str, path: str, body: bytes) -> httpx.Response:
        """What the server itself answers."""
        return self._upstream.request(method, path, content=body, headers={"content-type": "application/json"})

    def close(self) -> None:
        self._upstream.close()

    def release(self) -> None:
        """Lets go of everything that is held."""
        for released in self._held.values():
            released.set()


@contextmanager
def passing(upstream: str) -> Iterator[Passing]:
    """Starts one; its `url` is set."""
    between = Passing(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, answer = between.handle(self.command, self.path, body)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_PUT = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 -- the library's names

        def log_message(self, *_: Any) -> None:
            """Not to standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    between.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield between
    finally:
        between.release()
        server.shutdown()
        between.close()
        thread.join()
        server.server_close()


@dataclass
class Recorder:
    """The situations, by (kind, file name without its ending)."""

    team: Team
    found: dict[tuple[str, str], Object] = field(default_factory=dict)

    async def told(self, kind: str, name: str, reason: Reason, *, file: str = "") -> Object:
        """Waits until the resource says so, and keeps it."""
        obj = await self.team.wait(kind, name, lambda obj: _says(obj, reason))
        self.keep(file or kebab(reason), obj)
        return obj

    def keep(self, file: str, obj: Object) -> None:
        self.found[obj["kind"], file] = scrubbed(obj, self.team.namespace)

    async def declared(self, obj: Object, reason: Reason, *, file: str = "") -> Object:
        """Applies a resource, and keeps what it says."""
        await self.team.api.apply(obj)
        return await self.told(obj["kind"], obj["metadata"]["name"], reason, file=file)


def _says(obj: Object, reason: Reason) -> bool:
    kind = reason.value if reason in {Reason.DRIFTED, Reason.UNHEALTHY, Reason.QUALITY_DEGRADED} else "Ready"
    is_current = obj["status"].get("observedGeneration") == obj["metadata"]["generation"]
    return is_current and condition(obj, kind).get("reason") == reason


def kebab(reason: str) -> str:
    """`PlanHeldBack` to `plan-held-back`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", reason).lower()


def scrubbed(obj: Object, namespace: str) -> Object:
    """The object as `kubectl get -o yaml` shows it, without what is another at each run."""
    obj = copy.deepcopy(obj)
    metadata = obj["metadata"]
    for gone in ("managedFields", "resourceVersion", "uid"):
        metadata.pop(gone, None)
    for key in ("creationTimestamp", "deletionTimestamp"):
        if key in metadata:
            metadata[key] = TIME
    for told in obj.get("status", {}).get("conditions", []):
        told["lastTransitionTime"] = TIME
    text = json.dumps(obj).replace(namespace, "team")
    for pattern, written in VOLATILE:
        text = pattern.sub(written, text)
    made: Object = json.loads(text)
    return {"apiVersion": "vectorops.dev/v1alpha1", **made}


@dataclass(frozen=True)
class Stage:
    """What a walk through the situations needs."""

    api: KubeApi
    kube: KubeServer
    namespace: str
    start_qdrant: StartQdrant
    start_operator: StartOperator
    start_proxy: StartProxy
    folder: Path


async def record(stage: Stage) -> dict[tuple[str, str], Object]:
    """All situations; about half a minute."""
    recorder = Recorder(Team(stage.api, stage.namespace))
    qdrant = stage.start_qdrant()
    between_kube = stage.start_proxy(stage.kube.url, tls=stage.kube.tls)
    between_kube.before = _hide_one_secret
    async with AsyncExitStack() as stack:
        stored = await stack.enter_async_context(Stored(qdrant))
        hub = stack.enter_context(ModelHub())
        embeddings = stack.enter_context(EmbeddingServer())
        files = stack.enter_context(FileServer())
        operator = stage.start_operator(
            installation="production",
            kubeconfig=stage.kube.kubeconfig(between_kube.url),
            flags=[
                f"--model-folder={_model_folder(stage.folder)}",
                f"--staging-bytes={STAGING_BYTES}",
                "--max-migrations=9",
            ],
            environment=_environment(stage.folder, hub),
        )
        world = World(stage.api, stage.namespace, recorder, qdrant, stored, stack)
        await world.fine()
        await world.connections(stage)
        await world.collections()
        await world.migrations()
        await world.replicas()
        await world.embedders(hub, embeddings)
        await world.points_told()
        await world.sources(files)
        await world.ends()
        operator.discard()
        await world.without_operator()
    await _internal_error(stage, recorder)
    return recorder.found


def _hide_one_secret(call: Call) -> None:
    if call.path.endswith("/secrets/unreadable"):
        raise Cut


def _model_folder(folder: Path) -> Path:
    """A model of which there is everything but weights: its schema can be read, and no text embedded."""
    files: dict[str, Any] = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ],
        "config.json": {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 4},
        "1_Pooling/config.json": {"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True},
        "config_sentence_transformers.json": {"similarity_fn_name": "cosine"},
        "tokenizer.json": {},
    }
    contents = {name: json.dumps(content).encode() for name, content in files.items()}
    contents["model.safetensors"] = (2).to_bytes(8, "little") + b"{}"
    for name, content in contents.items():
        path = folder / "models" / SMALL / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / "models"


def _environment(folder: Path, hub: ModelHub) -> dict[str, str]:
    """The operator's: a hub of our own, no place to keep what comes from there, and no library to run models with."""
    (folder / "no-folder").touch()
    shim = folder / "shim"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'sentence_transformers' else find(name, *rest)\n"
    )
    cache = folder / "no-folder" / "cache"
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": "0",
        "PYTHONPATH": os.pathsep.join([str(shim), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }


@dataclass
class World:
    """One namespace with one Qdrant and an operator that watches it."""

    api: KubeApi
    namespace: str
    recorder: Recorder
    qdrant: QdrantServer
    stored: Stored
    stack: AsyncExitStack

    @property
    def team(self) -> Team:
        return self.recorder.team

    def collection(self, name: str, connection: str = "main", **spec: Any) -> Object:
        return collection(self.namespace, name, connectionRef={"name": connection}, **spec)

    def points(self, name: str, collection: str, *points: Object, **spec: Any) -> Object:
        return point_set(self.namespace, name, collection, list(points) or [point(1, 1, 0, 0)], **spec)

    async def fine(self) -> None:
        """What is as it should be, and what was told to rest."""
        declared = self.recorder.declared
        await declared(connection(self.namespace, self.qdrant), Reason.SUCCEEDED)
        await declared(self.collection("documents", payloadIndexes=[INDEX]), Reason.SUCCEEDED)
        await declared(self.points("handbook", "documents"), Reason.SUCCEEDED)
        await declared(connection(self.namespace, self.qdrant, name="resting", suspend=True), Reason.SUSPENDED)
        await self.team.collection("resting", until=is_settled)
        await declared(self.collection("resting", suspend=True), Reason.SUSPENDED)
        await declared(self.points("resting", "documents", point(2, 1, 0, 0), suspend=True), Reason.SUSPENDED)

    async def connections(self, stage: Stage) -> None:
        """What keeps a connection from being one."""
        authority = CertificateAuthority(stage.folder / "pki")
        tls = QdrantTls(authority, authority.issue("server"))
        guarded = stage.start_qdrant(api_key="the-key-of-this-server", tls=tls)
        await self.api.apply(secret(self.namespace, "ca", ca__crt=authority.certificate.read_text()))
        await self.api.apply(secret(self.namespace, "wrong", api_key="another-key", ca__crt="no certificate"))
        trusted = {"caSecretRef": {"name": "ca", "key": "ca.crt"}}

        async def told(reason: Reason, url: str, **spec: Any) -> None:
            name = kebab(reason)
            await self.recorder.declared(connection(self.namespace, url, name=name, **spec), reason)

        def key(name: str) -> Object:
            return {"apiKeySecretRef": {"name": name, "key": "api-key"}}

        def answering(status: int, answer: Any) -> str:
            between = self.stack.enter_context(passing(self.qdrant.url))
            between.answer = lambda *_: (status, answer)
            return between.url

        old = {"title": "qdrant - vector search engine", "version": "1.15.5", "result": {}}
        await asyncio.gather(
            told(Reason.UNREACHABLE, f"http://127.0.0.1:{free_port()}"),
            told(Reason.CERTIFICATE_INVALID, guarded.url),
            told(Reason.UNAUTHORIZED, guarded.url, tls=trusted, **key("wrong")),
            told(Reason.SECRET_NOT_FOUND, guarded.url, tls=trusted, **key("missing")),
            told(Reason.SECRET_INVALID, guarded.url, tls={"caSecretRef": {"name": "wrong", "key": "ca.crt"}}),
            told(Reason.KUBERNETES_API, guarded.url, tls=trusted, **key("unreadable")),
            told(Reason.INVALID_URL, "http://127.0.0.1:99999"),
            told(Reason.NOT_QDRANT, answering(200, {"hello": "world"})),
            told(Reason.UNSUPPORTED_VERSION, answering(200, old)),
            told(Reason.RATE_LIMITED, answering(429, {"status": {"error": "slow down"}})),
            told(Reason.SERVER_ERROR, answering(500, {"status": {"error": "out of order"}})),
            told(Reason.OUT_OF_SPACE, answering(507, {"status": {"error": "disk usage is above its quota"}})),
        )

    async def collections(self) -> None:
        """What keeps a collection from being as declared."""
        declared, team = self.recorder.declared, self.team
        for name in ("there-first", "users"):
            await make_by_hand(self.stored, name)
        await asyncio.gather(
            declared(self.collection("no-connection", "missing"), Reason.CONNECTION_NOT_FOUND),
            declared(self.collection("no-server", "unreachable"), Reason.CONNECTION_NOT_READY),
            declared(collection(self.namespace, "of-all", connectionRef=OF_THE_CLUSTER), Reason.NOT_ALLOWED),
            declared(self.collection("missing", managedBy="User"), Reason.COLLECTION_NOT_FOUND),
            declared(self.collection("forbidden", collectionName=LEDGER), Reason.INVALID_SPEC),
            declared(self.collection("there-first", adoptionPolicy="Never"), Reason.NOT_ADOPTED),
            declared(self.collection("users", managedBy="User", hnswConfig={"m": 20}), Reason.SCHEMA_MISMATCH),
            declared(self.collection("wrong", hnswConfig={"m": -1}), Reason.REQUEST_REJECTED),
            declared(self.collection("future", hnswConfig={"from_the_future": 1}), Reason.UNSUPPORTED_BY_SERVER),
            declared(self.collection("second", collectionName="documents"), Reason.OWNED_BY_ANOTHER),
            declared(self.collection("warned", hnswConfig={"inline_storage": True}), Reason.UNHEALTHY),
        )

        # It is asked when it has points, and nobody writes any.
        checks = {"queries": [{"vector": [1.0, 0.0, 0.0], "expect": ["1"]}], "thresholds": {"recall": 1}}
        await team.collection("worse", checks=checks)
        await team.points("worse", "worse", [point(2, 1, 0, 0)])
        await team.annotate(COLLECTION, "worse", {RECONCILE: "now"})
        await team.wait(COLLECTION, "worse", lambda obj: obj["status"].get("lastHandledReconcileAt") == "now")
        await self.recorder.told(COLLECTION, "worse", Reason.QUALITY_DEGRADED)

        await team.collection("larger")
        await declared(self.collection("larger", vector={"size": 4}), Reason.PLAN_HELD_BACK)

        await self.stored.client.update_collection_aliases([alias("taken", "there-first")])
        await declared(self.collection("alias", aliases=["taken"]), Reason.ALIAS_TAKEN)

        await team.collection("marked")
        newer = mark_of(self.qdrant, "marked") | {"format": 99}
        change_by_hand(self.qdrant, "marked", {"metadata": {MARK: newer}})
        await declared(self.collection("marked", hnswConfig={"m": 20}), Reason.UNKNOWN_MARK)

        await team.collection("drifted", hnswConfig={"m": 20}, driftPolicy="Report")
        change_by_hand(self.qdrant, "drifted", {"hnsw_config": {"m": 9}})
        await team.annotate(COLLECTION, "drifted", {RECONCILE: "look again"})
        await self.recorder.told(COLLECTION, "drifted", Reason.DRIFTED)

    async def migrations(self) -> None:
        """What a migration behind an alias waits for."""
        team, two_shards = self.team, {"shard_number": 2}
        auto: Object = {"layout": "Aliased", "migration": {"approval": "Auto"}}
        checks = {"queries": [{"vector": [1.0, 0.0, 0.0], "expect": ["2"]}], "k": 1, "thresholds": {"recall": 1}}
        names: Object = {"filling": {}, "blocked": {}, "checked": {"checks": checks}, "back": {}}
        for name, more in names.items():
            await team.collection(name, **auto, **more)
            await team.points(name, name, [point(1, 1, 0, 0), point(2, 0, 1, 0)])

        await team.collection(
            "filling", vector={"size": 4}, until=lambda obj: "2 points failed" in message(obj), **auto
        )
        await self.recorder.told(COLLECTION, "filling", Reason.MIGRATING)

        await team.points("blocked", "blocked", [point(1, 1, 0, 0)], suspend=True)
        await self.recorder.declared(self.collection("blocked", params=two_shards, **auto), Reason.MIGRATION_BLOCKED)

        await self.recorder.declared(
            self.collection("checked", params=two_shards, checks=checks, **auto), Reason.CHECKS_FAILED
        )

        await team.collection("back", params=two_shards, **auto)
        moved = await team.wait(COLLECTION, "back", is_ready)
        await team.annotate(COLLECTION, "back", {ROLL_BACK: moved["status"]["collection"]["incarnation"]})
        await self.recorder.told(COLLECTION, "back", Reason.ROLLED_BACK)

    async def replicas(self) -> None:
        """What a distributed Qdrant tells of replicas, in the words of a real one (see test_qdrant_replicas.py)."""
        told, between = self.recorder.told, self.stack.enter_context(passing(self.qdrant.url))
        states = {"lacking": ("Active",), "recovering": ("Active", "Dead")}

        def distributed(_: str, path: str, __: bytes) -> tuple[int, Any] | None:
            named = path.split("/")[2] if path.startswith("/collections/") else ""
            if path == "/cluster":
                return 200, {"result": {"status": "enabled", "peer_id": 1, "peers": {}}, "status": "ok"}
            if named not in states or not path.endswith("/cluster"):
                return None
            first, *rest = (
                {"shard_id": 0, "peer_id": 1 + peer, "state": one} for peer, one in enumerate(states[named])
            )
            return 200, {"result": {"peer_id": 1, "local_shards": [first], "remote_shards": rest}, "status": "ok"}

        between.answer = distributed
        await self.team.api.apply(connection(self.namespace, between.url, name="distributed"))
        await self.recorder.declared(
            self.collection("lacking", "distributed", params={"replication_factor": 2}), Reason.REPLICAS_MISSING
        )
        await self.api.apply(self.collection("recovering", "distributed", params={"replication_factor": 2}))
        await told(COLLECTION, "recovering", Reason.REPLICAS_MISSING, file="replicas-dead")

    async def embedders(self, hub: ModelHub, embeddings: EmbeddingServer) -> None:
        """What keeps a model from giving a schema, or vectors."""
        declared = self.recorder.declared
        hub.put("hub/gated", {"config.json": b"{}"}, gated=True)
        hub.put("hub/model", {"config.json": b"{}"})

        def hosted(name: str, **member: Any) -> Object:
            return self.collection(name, vector={"embedder": {"openAI": {"model": "any", **member}}})

        def local(name: str, model: str) -> Object:
            return self.collection(name, vector={"embedder": {"sentenceTransformers": {"model": model}}})

        def text(name: str, collection: str) -> Object:
            return self.points(name, collection, {"id": 1, "vector": {"text": "a question"}})

        await asyncio.gather(
            declared(local("model-unknown", "hub/unknown"), Reason.MODEL_NOT_FOUND),
            declared(local("model-gated", "hub/gated"), Reason.MODEL_GATED),
            declared(local("model-not-kept", "hub/model"), Reason.EMBEDDER_FAILED),
            declared(hosted("link-local", baseURL="http://169.254.169.254/v1"), Reason.MODEL_REFUSED),
            declared(hosted("away", baseURL=f"http://127.0.0.1:{free_port()}/v1"), Reason.EMBEDDER_UNREACHABLE),
        )

        embeddings.answer_always(Answer(401))
        await declared(hosted("no-key", baseURL=embeddings.base_url), Reason.EMBEDDER_UNAUTHORIZED)
        embeddings.answer_always(Answer(400, {"error": {"message": "no such model"}}))
        await declared(hosted("refused", baseURL=embeddings.base_url), Reason.EMBEDDER_REJECTED)
        embeddings.answer = lambda _: None
        await self.api.apply(hosted("swapped", baseURL=embeddings.base_url))
        await self.team.wait(COLLECTION, "swapped", "Succeeded")
        embeddings.vectors = lambda texts: [[1.0] * 5 for _ in texts]
        await declared(text("swapped", "swapped"), Reason.EMBEDDER_MISMATCH)

        await self.api.apply(local("local", SMALL))
        await self.team.wait(COLLECTION, "local", "Succeeded")
        await declared(text("local", "local"), Reason.EMBEDDER_NOT_INSTALLED)

    async def points_told(self) -> None:
        """What keeps points from being stored."""
        declared = self.recorder.declared
        await put_by_hand(self.stored, "documents", 99)
        await self.team.collection("lost")
        await self.team.points("damaged", "documents", [point(3, 1, 0, 0)])
        await self.team.points("lost", "lost", [point(1, 1, 0, 0)])
        await self.team.collection("newer")
        await self.team.points("newer", "newer", [point(1, 1, 0, 0)])
        await asyncio.gather(
            declared(self.points("too-early", "missing-here"), Reason.COLLECTION_NOT_FOUND),
            declared(self.points("waiting", "there-first"), Reason.COLLECTION_NOT_READY),
            declared(self.points("short", "documents", point(4, 1, 0)), Reason.POINTS_FAILED),
            declared(self.points("claims", "documents", point(99, 1, 0, 0)), Reason.POINT_CONFLICTS),
        )

        await make_by_hand(self.stored, "replaced")
        await self.team.collection("replaced", managedBy="User")
        await self.team.points("replaced", "replaced", [point(1, 1, 0, 0), point(2, 1, 0, 0)])
        await self.stored.client.delete_collection("replaced")
        await make_by_hand(self.stored, "replaced")
        await self.team.annotate(POINTS, "replaced", {RECONCILE: "look again"})
        await self.recorder.told(POINTS, "replaced", Reason.COLLECTION_REPLACED)

        records = await self.stored.points(LEDGER)
        of_damaged = [id for id, each in records.items() if each.payload["owner"].endswith("/damaged")]
        of_lost = [id for id, each in records.items() if each.payload["owner"].endswith("/lost")]
        base = next(id for id in of_damaged if records[id].payload["kind"] == "base")
        await self.stored.client.delete(LEDGER, [base], wait=True)
        await self.stored.client.delete(LEDGER, of_lost, wait=True)
        await declared(self.points("damaged", "documents", point(5, 1, 0, 0)), Reason.LEDGER_DAMAGED)
        await declared(self.points("lost", "lost", point(2, 1, 0, 0)), Reason.LEDGER_LOST)
        of_newer = [id for id, each in records.items() if each.payload["owner"].endswith("/newer")]
        await self.stored.client.set_payload(LEDGER, {"format": 9}, points=of_newer, wait=True)
        await declared(self.points("newer", "newer", point(2, 1, 0, 0)), Reason.LEDGER_UNREADABLE)

        fenced = self.stack.enter_context(passing(self.qdrant.url))
        fenced.answer = _pretends_to_write_windows
        await self.team.api.apply(connection(self.namespace, fenced.url, name="fenced"))
        await self.api.apply(self.collection("fenced", "fenced"))
        await declared(self.points("fenced", "fenced"), Reason.ANOTHER_WRITER)

    async def sources(self, files: FileServer) -> None:
        """What keeps rows from being read, and what is held back of them."""

        async def told(reason: Reason, served: Served | None, **source: Any) -> None:
            name = kebab(reason)
            if served is not None:
                files.files[f"/{name}.jsonl"] = served
            source = source or {"http": {"urls": [f"http://127.0.0.1:{files.port}/{name}.jsonl"]}}
            spec = {"collectionRef": {"name": "documents"}, "source": source}
            await self.recorder.declared(resource(POINTS, self.namespace, name, spec), reason)

        def changing() -> Served:
            served = Served(b"{}", etag='"0"')
            served.during = lambda: setattr(served, "etag", f'"{len(files.requests)}"')
            return served

        await asyncio.gather(
            told(Reason.SOURCE_INVALID, Served(b'{"id": 1, "vec')),
            told(Reason.SOURCE_REFUSED, None, files={"path": "*.parquet"}),
            told(Reason.SOURCE_MISSING, None),
            told(Reason.SOURCE_UNAVAILABLE, Served(status=503)),
            told(Reason.SOURCE_CHANGED, changing()),
            told(Reason.SOURCE_EMPTY, Served()),
            told(Reason.STAGING_FULL, Served(bytes(STAGING_BYTES + 1))),
        )

        spec: Object = {"maxDeletePercent": 0}
        await self.team.points("held-back", "documents", [point(6, 1, 0, 0), point(7, 1, 0, 0)], **spec)
        await self.recorder.declared(
            self.points("held-back", "documents", point(6, 1, 0, 0), **spec), Reason.DELETIONS_HELD_BACK
        )

    async def ends(self) -> None:
        """What deletion waits for; and, while Qdrant keeps silent, a set that has just begun."""
        told = self.recorder.told
        slow = self.stack.enter_context(passing(self.qdrant.url))
        await self.api.apply(connection(self.namespace, slow.url, name="slow"))
        await self.api.apply(self.collection("slow", "slow", deletionPolicy="Delete"))
        await self.team.wait(COLLECTION, "slow", "Succeeded")
        slow.hold(f"/collections/{LEDGER}")
        await self.recorder.declared(self.points("begun", "slow"), Reason.PROGRESSING)
        await self.team.ask_to_delete(COLLECTION, "slow")
        await told(COLLECTION, "slow", Reason.DELETION_BLOCKED)
        await self.team.ask_to_delete(POINTS, "begun")
        await self.team.annotate(COLLECTION, "slow", {RECONCILE: "look again"})
        await told(COLLECTION, "slow", Reason.DELETING)
        await self.team.ask_to_delete(CONNECTION, "main")
        await told(CONNECTION, "main", Reason.DELETION_BLOCKED)
        slow.release()

    async def without_operator(self) -> None:
        """What nobody has looked at yet, or not since it was changed."""
        new = self.points("new", "documents")
        self.recorder.keep("new", await self.api.create(new))
        changed = self.collection("documents", payloadIndexes=[INDEX], aliases=["docs"])
        self.recorder.keep("changed", await self.api.apply(changed))


def alias(name: str, collection: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=name))


def _pretends_to_write_windows(method: str, path: str, body: bytes) -> tuple[int, Any] | None:
    """As Qdrant answers one who is no longer the writer: the record has another's token, and is not overwritten."""
    if method == "PUT" and path.startswith(f"/collections/{LEDGER}/points") and b'"open"' in body:
        return 200, {"result": {"operation_id": 1, "status": "completed"}, "status": "ok", "time": 0.0}
    return None


class _Faulty:
    """A reconciler with a fault; none is known in those that are shipped."""

    async def reconcile(self, context: Context, resource: Resource) -> Outcome:
        raise KeyError("a fault")

    finalize = reconcile


def _no_database(spec: QdrantConnectionSpec, credentials: Credentials) -> Database:
    raise AssertionError("the fault comes first")


async def _internal_error(stage: Stage, recorder: Recorder) -> None:
    """The one situation that only the driver is asked for, in this process."""
    live = await stage.api.apply(collection(stage.namespace, "faulty"))
    resource = Resource.from_object(live)
    cluster = LocalCluster([resource], {})
    context = Context(cluster, Databases(_no_database), Embedders(EmbedderSettings()), "production", writer="writer")
    verdict = await Driver(context, {COLLECTION: _Faulty()}).run(resource.ref)
    assert verdict.status is not None
    obj = await stage.api.patch_status(COLLECTION, stage.namespace, "faulty", verdict.status)
    recorder.keep(kebab(Reason.INTERNAL_ERROR), obj)
