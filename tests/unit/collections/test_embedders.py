"""The embedder locks: which model made the stored vectors, and what it takes to have another one make them."""

from dataclasses import replace
from typing import Any

import pytest

from unit.collections.echo import EchoingQdrant, Killed
from unit.collections.specs import EMBEDDER, TEXT, VERSION, bring, declare, embedded, look, model
from vectorops.api.meta import JsonObject
from vectorops.collections.apply import Applied
from vectorops.collections.locks import locks_of
from vectorops.collections.plan import differences, mismatches
from vectorops.collections.resolve import schema_status
from vectorops.collections.steps import Action
from vectorops.embedders.base import Resolved
from vectorops.qdrant.observe import observe

A, B, LARGER = model("a/model"), model("b/model"), model("large/model", size=8)
ON_119 = "1.19.0"
VERSIONS = pytest.mark.parametrize("version", [VERSION, ON_119])


@pytest.fixture
def qdrant() -> EchoingQdrant:
    return EchoingQdrant()


async def locks(qdrant) -> dict[str, str]:
    """Which model the mark names for each vector."""
    return {name: lock.model for name, lock in locks_of((await observe(qdrant, "zoo")).mark).items()}


def held(done: Applied) -> list[Action]:
    return [step.action for step in done.plan.held_back]


# ---- further fields of requests


def hosted(**extra: JsonObject) -> Any:
    """A hosted model. extra: documents, queries."""
    declared = {"openAI": {"model": "hosted", **({"extraBody": extra} if extra else {})}}
    plain = Resolved(declared, "openAI", "hosted", "dense", 4, base_url="https://models.example/v1")
    return replace(plain, document_extra_body=extra.get("documents", {}))


async def test_other_fields_for_documents_are_another_model_and_other_fields_for_queries_are_not(qdrant):
    await bring(qdrant, embedded(hosted()))

    asked = await bring(qdrant, embedded(hosted(queries={"input_type": "query"})))
    changed = await bring(qdrant, embedded(hosted(documents={"input_type": "passage"})))

    assert asked.plan.held_back == ()
    (vector,) = schema_status(asked.plan.in_force).vectors
    assert vector.embedder is not None
    assert vector.embedder.query_extra_body == {"input_type": "query"}
    assert vector.embedder.document_extra_body is None
    (line,) = changed.plan.describe()
    assert held(changed) == [Action.REEMBED]
    assert """extraBody.documents 'none' -> '{"input_type": "passage"}'""" in line
    assert locks_of(changed.mark)["text"].document_extra_body == {}


async def test_the_lock_keeps_the_fields_that_documents_were_embedded_with(qdrant):
    done = await bring(qdrant, embedded(hosted(documents={"n": 1}, queries={"n": 2})))

    lock = locks_of((await observe(qdrant, "zoo")).mark)["text"]
    assert lock.document_extra_body == {"n": 1}
    assert lock.identity == done.plan.desired.embedders["text"].identity


# ---- locking


async def test_a_collection_is_born_with_the_lock_of_its_model(qdrant):
    done = await bring(qdrant, embedded(A))

    assert [call for call, _ in qdrant.writes] == ["create_collection"]
    assert locks_of(done.mark) == {"text": A}
    assert done.plan.doable == done.plan.held_back == ()


async def test_the_same_model_again_writes_nothing(qdrant):
    await bring(qdrant, embedded(A))
    writes = len(qdrant.writes)

    await bring(qdrant, embedded(A))

    assert len(qdrant.writes) == writes


async def test_a_lock_in_which_a_newer_version_wrote_more_stays_as_it_is_written(qdrant):
    newer = {"text": A.to_json() | {"tokens": 512}}
    await bring(qdrant, embedded(A))
    mark = (await observe(qdrant, "zoo")).mark
    assert mark is not None
    await qdrant.update_collection("zoo", {"metadata": replace(mark, embedders=newer).metadata()})
    writes = len(qdrant.writes)

    done = await bring(qdrant, embedded(A))

    assert len(qdrant.writes) == writes
    assert done.mark.embedders == newer


async def test_a_vector_of_a_declared_size_gets_the_lock_of_a_model_that_fits_without_asking(qdrant):
    await bring(qdrant, declare())

    done = await bring(qdrant, embedded(A))

    assert done.plan.held_back == ()
    assert await locks(qdrant) == {"text": "a/model"}


@VERSIONS
async def test_a_vector_of_a_declared_size_gets_no_lock_of_a_model_that_does_not_fit(qdrant, version):
    await bring(qdrant, declare(), version)

    done = await bring(qdrant, embedded(LARGER), version)

    assert done.plan.held_back[0].lines == ('vector "text": size 4 -> 8, as model large/model at 1234 gives it',)
    assert await locks(qdrant) == {}
    assert (await bring(qdrant, embedded(B), version)).plan.held_back == ()


async def test_another_query_prompt_reaches_the_lock_without_asking(qdrant):
    await bring(qdrant, embedded(A))

    done = await bring(qdrant, embedded(replace(A, query_prompt="query: ")))

    assert done.plan.held_back == ()
    assert locks_of(done.mark)["text"].query_prompt == "query: "


# ---- another model


@pytest.mark.parametrize("version", [VERSION, ON_119])
async def test_another_model_of_equal_size_is_held_back_with_both_names(qdrant, version):
    await bring(qdrant, embedded(A), version)

    done = await bring(qdrant, embedded(B), version)

    assert held(done) == [Action.REEMBED]
    assert done.plan.describe(points=7) == [
        (
            'vector "text": model a/model at 1234 -> model b/model at 1234 (the vectors of 7 points would be '
            "embedded again by their PointSets; points that no PointSet manages keep vectors of the old model)"
        )
    ]
    assert not done.plan.is_destructive
    assert await locks(qdrant) == {"text": "a/model"}


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (
            replace(A, revision="5678" * 10),
            "model a/model at 1234 -> model a/model at 567856785678",
        ),
        (
            replace(A, document_prompt="passage: "),
            "model a/model at 1234, document prompt 'none' -> 'passage: '",
        ),
        (
            replace(A, provider="fastEmbed"),
            "model a/model at 1234, provider 'sentenceTransformers' -> 'fastEmbed'",
        ),
        (
            replace(A, dimensions=4),
            "model a/model at 1234 -> model a/model at 1234, 4 dimensions",
        ),
    ],
)
async def test_whatever_else_changes_vectors_is_told_too(qdrant, after, words):
    await bring(qdrant, embedded(A))

    done = await bring(qdrant, embedded(after))

    assert done.plan.held_back[0].lines == (f'vector "text": {words}',)


async def test_other_changes_are_done_while_a_model_is_held_back(qdrant):
    await bring(qdrant, embedded(A))

    done = await bring(qdrant, embedded(B, hnswConfig={"m": 8}, aliases=["docs"]))

    assert held(done) == [Action.REEMBED]
    assert done.observed.config["hnsw_config"]["m"] == 8
    assert done.observed.aliases == {"docs"}


async def test_an_approved_model_takes_the_lock_and_touches_nothing_else(qdrant):
    await bring(qdrant, embedded(A))
    writes = len(qdrant.writes)

    done = await bring(qdrant, embedded(B), approved=True)

    assert done.plan.held_back == ()
    assert await locks(qdrant) == {"text": "b/model"}
    ((call, (_, body)),) = qdrant.writes[writes:]
    assert (call, body.keys()) == ("update_collection", {"metadata"})


async def test_an_approval_fits_its_model_once(qdrant):
    """An annotation stays in the files. A -> B -> A -> B must be asked for each time."""
    await bring(qdrant, embedded(A))
    hashes = []
    for made_by in (B, A, B, A):
        hashes.append((await look(qdrant, embedded(made_by))).hash)
        await bring(qdrant, embedded(made_by), approved=True)

    assert len(set(hashes)) == len(hashes)
    assert "" not in hashes


async def test_the_hash_is_of_the_model_to_the_commit(qdrant):
    await bring(qdrant, embedded(A))
    # Alike in the twelve characters that are shown.
    alike = [replace(B, revision="1234" * 9 + end) for end in ("0000", "1111")]

    first, second = [await look(qdrant, embedded(one)) for one in alike]

    assert first.held_back[0].lines == second.held_back[0].lines
    assert first.hash != second.hash


async def test_the_lock_stays_while_a_size_is_declared_instead(qdrant):
    """Or by two steps another model would come in unasked."""
    await bring(qdrant, embedded(A))
    done = await bring(qdrant, declare())
    assert done.plan.held_back == ()

    done = await bring(qdrant, embedded(B))

    assert held(done) == [Action.REEMBED]


async def test_another_model_is_no_drift(qdrant):
    """With driftPolicy Report, drift waits for an approval of its own."""
    await bring(qdrant, embedded(A))

    assert not (await look(qdrant, embedded(B))).is_drift


# ---- another schema through another model


async def test_another_size_through_another_model_recreates_and_names_both(qdrant):
    await bring(qdrant, embedded(A))

    waiting = await bring(qdrant, embedded(LARGER))
    assert held(waiting) == [Action.RECREATE_COLLECTION]
    assert waiting.plan.held_back[0].lines == (
        'vector "text": size 4 -> 8, model a/model at 1234 -> model large/model at 1234',
    )
    assert await locks(qdrant) == {"text": "a/model"}

    done = await bring(qdrant, embedded(LARGER), approved=True)
    assert done.plan.held_back == ()
    assert done.observed.vectors["text"]["size"] == 8
    assert await locks(qdrant) == {"text": "large/model"}


async def test_a_recreated_collection_is_empty_so_that_every_model_may_have_it(qdrant):
    """The model of another vector waits for an approval too; there is no vector of the old one left then."""
    both = {"text": A, "title": A}
    named = [{"name": name, "embedder": EMBEDDER} for name in both]
    await bring(qdrant, declare(embedders=both, vectors=named))
    other = declare(embedders={"text": LARGER, "title": B}, vectors=named)

    todo = await look(qdrant, other)
    await bring(qdrant, other, approved=True)

    assert todo.held_back[0].lines == (
        'vector "text": size 4 -> 8, model a/model at 1234 -> model large/model at 1234',
        'vector "title": model a/model at 1234 -> model b/model at 1234',
    )
    assert await locks(qdrant) == {"text": "large/model", "title": "b/model"}


TWO: JsonObject = {"vectors": [{"name": "text", "embedder": EMBEDDER}, {"name": "image", "size": 2}]}


def two(made_by, **spec: Any):
    """A vector with an embedder and one without."""
    return declare(embedders={"text": made_by}, **(TWO | spec))


class TestQdrant119:
    async def test_another_size_through_another_model_replaces_the_vector_alone(self, qdrant):
        first = await bring(qdrant, two(A), ON_119)
        await qdrant.update_collection("zoo", {"vectors": {"text": {"on_disk": True}}})

        waiting = await bring(qdrant, two(LARGER), ON_119)
        assert waiting.plan.describe() == [
            (
                'vector "text": size 4 -> 8, model a/model at 1234 -> model large/model at 1234 (cannot be '
                "changed in place: the vector must be deleted and added again; the vector of all points would be lost)"
            )
        ]
        assert waiting.plan.is_destructive
        assert waiting.observed.vectors["text"]["size"] == 4

        done = await bring(qdrant, two(LARGER), ON_119, approved=True)
        assert done.plan.doable == done.plan.held_back == ()
        assert done.mark.incarnation == first.mark.incarnation
        assert {name: params["size"] for name, params in done.observed.vectors.items()} == {"text": 8, "image": 2}
        assert done.observed.vectors["text"]["on_disk"] is True
        assert await locks(qdrant) == {"text": "large/model"}

    async def test_dense_to_sparse_through_another_model_replaces_the_vector_alone(self, qdrant):
        await bring(qdrant, two(A), ON_119)
        terms = model("sparse/model", kind="sparse", size=None, modifier="idf")
        after = declare(
            embedders={"text": terms},
            vectors=[{"name": "image", "size": 2}],
            sparseVectors=[{"name": "text", "embedder": EMBEDDER}],
        )

        done = await bring(qdrant, after, ON_119, approved=True)

        assert done.plan.held_back == ()
        assert done.observed.vectors.keys() == {"image"}
        assert done.observed.sparse_vectors == {"text": {"modifier": "idf"}}
        assert await locks(qdrant) == {"text": "sparse/model"}

    async def test_a_declared_size_in_place_of_a_model_takes_the_lock_away_with_the_vector(self, qdrant):
        await bring(qdrant, embedded(A), ON_119)

        await bring(qdrant, declare(vectors=[{"name": "text", "size": 8}]), ON_119, approved=True)

        assert await locks(qdrant) == {}
        done = await bring(qdrant, embedded(LARGER), ON_119)
        assert done.plan.held_back == ()

    async def test_the_lock_of_a_removed_vector_goes_with_it(self, qdrant):
        await bring(qdrant, two(A), ON_119)
        image = declare(vectors=[{"name": "image", "size": 2}])

        waiting = await bring(qdrant, image, ON_119)
        assert held(waiting) == [Action.DELETE_VECTOR]
        assert await locks(qdrant) == {"text": "a/model"}

        await bring(qdrant, image, ON_119, approved=True)
        assert await locks(qdrant) == {}

    async def test_a_new_vector_is_locked_before_it_is_there(self, qdrant):
        await bring(qdrant, declare(vectors=[{"name": "image", "size": 2}]), ON_119)
        before = len(qdrant.writes)

        await bring(qdrant, two(A), ON_119)

        calls = [call for call, _ in qdrant.writes[before:]]
        assert calls[:2] == ["update_collection", "create_vector_name"]
        assert await locks(qdrant) == {"text": "a/model"}

    async def test_an_approval_of_a_replacement_fits_once(self, qdrant):
        await bring(qdrant, two(A), ON_119)
        hashes = []
        for made_by in (LARGER, A, LARGER, A):
            hashes.append((await look(qdrant, two(made_by), ON_119)).hash)
            await bring(qdrant, two(made_by), ON_119, approved=True)

        assert len(set(hashes)) == len(hashes)

    @pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
    async def test_killed_at_any_write_of_a_replacement_the_lock_never_names_a_model_of_another_vector(self, after):
        qdrant: Any = EchoingQdrant()
        await bring(qdrant, two(A), ON_119)
        first = len(qdrant.writes)
        await bring(qdrant, two(LARGER), ON_119, approved=True)
        writes = range(first, len(qdrant.writes))
        assert len(writes) > 2

        for write in writes:
            qdrant = EchoingQdrant()
            await bring(qdrant, two(A), ON_119)
            qdrant.kill_at, qdrant.after = write, after
            with pytest.raises(Killed):
                await bring(qdrant, two(LARGER), ON_119, approved=True)
            qdrant.kill_at = None

            left = await observe(qdrant, "zoo")
            if "text" in left.vectors:
                named = {4: "a/model", 8: "large/model"}[left.vectors["text"]["size"]]
                assert await locks(qdrant) == {"text": named}, write
            # What follows is what was approved, and no drift that waits for another approval.
            todo = await look(qdrant, two(LARGER), ON_119)
            assert not todo.is_drift, write
            done = await bring(qdrant, two(LARGER), ON_119, approved=bool(todo.held_back))
            assert done.plan.doable == done.plan.held_back == (), write
            assert await locks(qdrant) == {"text": "large/model"}

    async def test_killed_between_the_old_vector_and_the_new_one_a_third_model_may_come_in(self, qdrant):
        """Nothing of the old one is left to be lost."""
        await bring(qdrant, two(A), ON_119)
        qdrant.kill_at, qdrant.after = len(qdrant.writes) + 1, True
        with pytest.raises(Killed):
            await bring(qdrant, two(LARGER), ON_119, approved=True)
        qdrant.kill_at = None
        assert "text" not in (await observe(qdrant, "zoo")).vectors

        done = await bring(qdrant, two(B), ON_119)

        assert done.plan.held_back == ()
        assert await locks(qdrant) == {"text": "b/model"}


async def test_killed_at_the_approved_write_the_model_is_the_one_or_the_other():
    for after in (False, True):
        qdrant: Any = EchoingQdrant()
        await bring(qdrant, embedded(A))
        hashed = (await look(qdrant, embedded(B))).hash
        qdrant.kill_at, qdrant.after = len(qdrant.writes), after
        with pytest.raises(Killed):
            await bring(qdrant, embedded(B), approved=True)
        qdrant.kill_at = None

        assert await locks(qdrant) == {"text": "b/model" if after else "a/model"}
        assert (await look(qdrant, embedded(B))).hash == ("" if after else hashed)


# ---- what is shown, and what is somebody else's


async def test_status_shows_the_model_in_force_until_the_other_is_approved(qdrant):
    await bring(qdrant, embedded(A))

    (waiting,) = schema_status((await bring(qdrant, embedded(LARGER))).plan.in_force).vectors
    (done,) = schema_status((await bring(qdrant, embedded(LARGER), approved=True)).plan.in_force).vectors

    assert waiting.embedder is not None
    assert done.embedder is not None
    assert (waiting.embedder.model, waiting.size, waiting.sources["size"]) == ("a/model", 4, "config.json")
    assert (done.embedder.model, done.size) == ("large/model", 8)


async def test_status_shows_the_vector_as_it_is_until_a_model_is_approved_for_it(qdrant):
    await bring(qdrant, declare())

    (waiting,) = schema_status((await bring(qdrant, embedded(LARGER))).plan.in_force).vectors

    assert (waiting.embedder, waiting.size) == (None, 4)
    assert waiting.sources["size"] == "the current collection"


async def test_a_collection_left_behind_is_adopted_by_its_model_only(qdrant):
    await bring(qdrant, embedded(A))
    seen = await observe(qdrant, "zoo")

    assert mismatches(embedded(A), seen, version=VERSION) == []
    assert mismatches(embedded(B), seen, version=VERSION) == [
        'vector "text": model a/model at 1234 -> model b/model at 1234'
    ]


async def test_a_collection_that_nobody_marked_is_adopted_by_any_model_that_fits(qdrant):
    await qdrant.create_collection("zoo", {"vectors": {"text": {"size": 4, "distance": "Cosine"}}})
    seen = await observe(qdrant, "zoo")

    assert mismatches(embedded(A), seen, version=VERSION) == []
    assert mismatches(embedded(LARGER), seen, version=VERSION) == [
        'vector "text": size 4 -> 8, as model large/model at 1234 gives it'
    ]


async def test_of_a_collection_of_the_users_only_what_can_be_seen_is_compared(qdrant):
    """Its user makes the vectors, and knows by which model. A mark may be left from before."""
    await bring(qdrant, embedded(A))
    seen = await observe(qdrant, "zoo")

    assert differences(embedded(B), seen, version=VERSION) == []
    assert differences(embedded(LARGER), seen, version=VERSION) != []


async def test_a_lock_that_cannot_be_read_is_as_if_there_were_none(qdrant):
    done = await bring(qdrant, declare(vectors=[TEXT]))
    for unreadable in ("model a", {"model": "a"}):
        marked = replace(done.mark, embedders={"text": unreadable})
        await qdrant.update_collection("zoo", {"metadata": marked.metadata()})

        assert (await bring(qdrant, embedded(A))).plan.held_back == ()
        assert await locks(qdrant) == {"text": "a/model"}
