"""What a field means when it is left out: the descriptions, the models and the raw specs say the same."""

import re
from typing import Any

import pytest

from vectorops.api.collection import QdrantCollectionSpec
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import Model, ObjectMeta, Resource
from vectorops.api.migration import Migration
from vectorops.api.pointset import PointSetSpec
from vectorops.reconcilers.spec import RawSpec

LEAST: dict[type[Model], dict[str, Any]] = {
    QdrantConnectionSpec: {"url": "http://qdrant:6333"},
    QdrantCollectionSpec: {"connectionRef": {"name": "main"}, "vector": {"size": 2}},
    PointSetSpec: {"collectionRef": {"name": "zoo"}, "points": []},
    Migration: {},
}
SPECS: dict[type[Model], Any] = {model: model.model_validate(raw) for model, raw in LEAST.items()}
WORDS = {
    (model, name): match[1]
    for model in LEAST
    for name, field in model.model_fields.items()
    if (match := re.search(r"Default: ([^.]+)\.$", field.description or ""))
}
"""What the API reference says, by model and field."""
IN_WORDS = {(QdrantCollectionSpec, "collection_name"), (PointSetSpec, "shard_key"), (PointSetSpec, "refresh_interval")}
"""Defaults that are no value, but a sentence."""


def effective(model: type[Model]) -> set[str]:
    return {name.removeprefix("effective_") for name in dir(model) if name.startswith("effective_")}


@pytest.mark.parametrize(("model", "field"), sorted(WORDS.keys() - IN_WORDS, key=str))
def test_a_default_is_what_the_description_says(model, field):
    if field == "suspend":
        # Absent and false are the same to all who ask.
        assert WORDS[model, field] == "false"
        return
    value = getattr(SPECS[model], f"effective_{field}")

    assert (str(value).lower() if isinstance(value, bool) else str(value)) == WORDS[model, field]


def test_every_default_is_described():
    assert {(model, name) for model in LEAST for name in effective(model)} <= WORDS.keys()


@pytest.mark.parametrize("deletion_policy", [None, "Retain", "Delete"])
@pytest.mark.parametrize(("model", "kind"), [(QdrantCollectionSpec, "QdrantCollection"), (PointSetSpec, "PointSet")])
def test_a_raw_spec_has_the_defaults_of_its_model(model, kind, deletion_policy):
    given = LEAST[model] | ({"deletionPolicy": deletion_policy} if deletion_policy else {})
    raw = RawSpec(Resource(kind, ObjectMeta(name="zoo"), given, {}))
    spec = model.model_validate(given)

    assert raw.deletes == (spec.effective_deletion_policy == "Delete")
    assert (raw.is_suspended, raw.is_users, raw.collection_name, raw.aliases) == (False, False, "zoo", frozenset())


def test_a_raw_connection_names_the_collection_of_its_ledgers():
    raw = RawSpec(Resource("QdrantConnection", ObjectMeta(name="main"), LEAST[QdrantConnectionSpec], {}))

    spec = QdrantConnectionSpec.model_validate(LEAST[QdrantConnectionSpec])
    assert raw.ledger_collection == spec.effective_ledger_collection_name


def test_a_users_collection_is_never_deleted_whatever_an_old_object_says():
    spec = {"managedBy": "User", "deletionPolicy": "Delete"}

    assert not RawSpec(Resource("QdrantCollection", ObjectMeta(name="zoo"), spec, {})).deletes


def test_settings_of_a_migration_that_are_not_valid_keep_what_a_person_may_want() -> None:
    declared = {"retire": "Sometimes", "othersPoints": "Leave"}
    spec = {**LEAST[QdrantCollectionSpec], "migration": declared}

    found = RawSpec(Resource("QdrantCollection", ObjectMeta(name="zoo"), spec, {})).migration_settings

    assert (found.effective_retire, found.effective_others_points) == ("Manual", "Block")
