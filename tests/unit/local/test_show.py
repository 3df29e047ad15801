"""What the commands print."""

import json
import re
import sys

import pytest

from vectorops.api.collection import VectorStatus
from vectorops.api.embedder import EmbedderStatus
from vectorops.local import show
from vectorops.local.apply import ApplyResult, Report
from vectorops.local.schemas import CollectionSchema, UnresolvedVector
from vectorops.words import counted

MINILM = EmbedderStatus(
    provider="sentenceTransformers",
    model="sentence-transformers/all-MiniLM-L6-v2",
    revision="sha256:0123456789abcdef0123",
    identity="ab",
)
TEXT = VectorStatus(
    name="text",
    kind="dense",
    size=384,
    distance="Cosine",
    datatype="float32",
    embedder=MINILM,
    sources={"kind": "modules.json", "size": "1_Pooling/config.json", "distance": "declared", "datatype": "declared"},
)
TERMS = VectorStatus(name="terms", kind="sparse", sources={"kind": "declared"})
LOST = UnresolvedVector("image", "ModelNotFound: the model [a/b] is nowhere")


@pytest.fixture
def printed(capfdbinary):
    def lines(*schemas: CollectionSchema, as_json: bool = False) -> list[str]:
        show.print_schemas(schemas, as_json=as_json)
        out: bytes = capfdbinary.readouterr().out
        return out.decode().splitlines()

    return lines


def test_vectors_and_problems_stand_in_the_order_of_the_manifest(printed):
    lines = printed(CollectionSchema("default", "zoo", (TEXT, LOST, TERMS)))

    assert [line.split()[:2] for line in lines[1:]] == [["zoo", "text"], ["zoo", "image"], ["zoo", "terms"]]
    assert lines[2].rstrip().endswith(LOST.words)


def test_each_source_is_named_once_with_what_it_tells(printed):
    (_, line) = printed(CollectionSchema("default", "zoo", (TEXT,)))

    assert line.rstrip().endswith("kind: modules.json; size: 1_Pooling/config.json; distance, datatype: declared")


def test_a_revision_is_shortened_to_what_can_be_told_apart(printed):
    (_, line) = printed(CollectionSchema("default", "zoo", (TEXT,)))

    assert line.split()[6:8] == ["sentence-transformers/all-MiniLM-L6-v2", "0123456789ab"]


def test_the_namespace_is_shown_where_there_are_several(printed):
    lines = printed(CollectionSchema("default", "zoo", (TERMS,)), CollectionSchema("park", "zoo", (TERMS,)))

    assert [line.split()[0] for line in lines[1:]] == ["default/zoo", "park/zoo"]


def test_programs_get_everything_in_full(printed):
    (found,) = json.loads("".join(printed(CollectionSchema("default", "zoo", (TEXT, LOST)), as_json=True)))

    assert found == {"namespace": "default", "name": "zoo", "vectors": [TEXT.dump()], "problem": LOST.words}


REASON = "the vector: size 2 -> 3 (cannot be changed in place), " * 4 + "and that is why"
FAILED = ApplyResult("QdrantCollection", "default", "zoo", False, "PlanHeldBack", REASON, {})
READY = ApplyResult("PointSet", "default", "animals", True, "Succeeded", "1 point as declared", {})


def reported(capfdbinary, monkeypatch, width: int | None) -> list[str]:
    """What `apply` prints. width: of the terminal; None: there is none."""
    if width is not None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("NO_COLOR", "1")
    show.report(Report((FAILED, READY)), as_json=False)
    return re.sub("\x1b[^m]*m", "", capfdbinary.readouterr().out.decode()).splitlines()


def test_for_a_program_each_resource_is_one_line_without_padding(capfdbinary, monkeypatch):
    assert reported(capfdbinary, monkeypatch, None) == [
        "KIND              NAME     READY  REASON        MESSAGE",
        f"QdrantCollection  zoo      False  PlanHeldBack  {REASON}",
        "PointSet          animals  True   Succeeded     1 point as declared",
    ]


@pytest.mark.parametrize("width", [20, 60, 80, 120])
def test_on_a_terminal_nothing_is_cut_and_sentences_are_wrapped(capfdbinary, monkeypatch, width):
    lines = reported(capfdbinary, monkeypatch, width)

    assert " ".join(" ".join(lines).split()).count(REASON) == 1
    assert "PlanHeldBack" in " ".join(lines)
    beside = len("QdrantCollection  zoo      False  PlanHeldBack  ")
    assert max(map(len, lines)) <= max(width, beside + len("MESSAGE"))


def test_one_is_singular():
    assert [counted(count, "point") for count in (0, 1, 2000)] == ["0 points", "1 point", "2,000 points"]
