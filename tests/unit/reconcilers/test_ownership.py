"""Whose a collection is: a table of situations."""

from dataclasses import replace

import pytest

from vectorops.api.meta import Ref
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.qdrant.marks import MARK_KEY, Mark, registration_key
from vectorops.qdrant.observe import Observed
from vectorops.reconcilers.ownership import (
    Circumstances,
    claim,
    needs_ledgers,
    owner_of,
    require_no_owner,
)

NEW = Mark("here", "team", "docs", "uid-2", "docs", "new", connection="main", deletion_policy="Delete")
"""The mark of the collection if it were created now."""
OURS = replace(NEW, uid="uid-1", incarnation="old", deletion_policy="Retain", last_applied={"spec": "1"})
SIBLINGS = replace(OURS, name="other")
NEIGHBOURS = replace(SIBLINGS, namespace="rival")
ANOTHERS = replace(OURS, installation="there", embedders={"text": {}})
RELEASED = replace(ANOTHERS, released=True)
REGISTERED = {registration_key("here", Ref("PointSet", "team", "faq")): "old"}
COPIED = {MARK_KEY: {**ANOTHERS.metadata()[MARK_KEY], "collection": "park"}}
"""A restored snapshot carries the mark of the collection that it was made of."""
ABSENT = Observed("docs", exists=False)


def there(mark=None, metadata=None, *, had_metadata=True):
    metadata = {**(mark.metadata() if mark else {}), **(metadata or {})}
    return Observed("docs", exists=True, metadata=metadata, had_metadata=had_metadata, mark=mark)


STRANGERS = there(had_metadata=False)
WIPED = there()
REGISTRATIONS_LEFT = there(metadata=REGISTERED)


@pytest.mark.parametrize(
    ("found", "given", "becomes"),
    [
        # A collection that is made.
        (ABSENT, Circumstances(), NEW),
        (ABSENT, Circumstances(adopts=False, losses=("all",)), NEW),
        # Ours. The UID stays that of the writer; policy and connection are those that are declared now.
        (there(OURS), Circumstances(), replace(OURS, deletion_policy="Delete")),
        (there(OURS), Circumstances(adopts=False, losses=("all",)), replace(OURS, deletion_policy="Delete")),
        # Nobody's.
        (STRANGERS, Circumstances(), NEW),
        (there(RELEASED), Circumstances(), replace(NEW, incarnation="old", embedders={"text": {}})),
        (there(replace(OURS, released=True)), Circumstances(), replace(NEW, incarnation="old")),
        (there(metadata=COPIED), Circumstances(), NEW),
        # Another's, with leave to take it over: points of the sets are inherited by `previous`.
        (
            there(ANOTHERS),
            Circumstances(take_over_from="there"),
            replace(NEW, incarnation="old", last_applied={"spec": "1"}, embedders={"text": {}}, previous="there"),
        ),
        (
            there(SIBLINGS),
            Circumstances(take_over_from="here"),
            replace(NEW, incarnation="old", last_applied={"spec": "1"}),
        ),
        (
            there(replace(SIBLINGS, previous="there")),
            Circumstances(take_over_from="here"),
            replace(NEW, incarnation="old", last_applied={"spec": "1"}, previous="there"),
        ),
        # Ours, and somebody removed the mark: what sets registered tells, or what their ledgers say.
        (REGISTRATIONS_LEFT, Circumstances(adopts=False, known_incarnation="old"), replace(NEW, incarnation="old")),
        (REGISTRATIONS_LEFT, Circumstances(known_incarnation="another"), NEW),
        (REGISTRATIONS_LEFT, Circumstances(), NEW),
        (WIPED, Circumstances(adopts=False, ledger_incarnation="old"), replace(NEW, incarnation="old")),
        (WIPED, Circumstances(known_incarnation="old"), NEW),
        # A restored snapshot with the mark of another collection is not wiped.
        (there(metadata=COPIED | REGISTERED), Circumstances(known_incarnation="old"), NEW),
    ],
)
def test_a_collection_becomes_ours(found, given, becomes):
    assert claim(NEW, found, given) == becomes


@pytest.mark.parametrize(
    ("found", "given", "reason", "words"),
    [
        (there(ANOTHERS), Circumstances(how_to_take_over="ask"), Reason.OWNED_BY_ANOTHER, "stop that one and ask"),
        (there(ANOTHERS), Circumstances(take_over_from="elsewhere"), Reason.OWNED_BY_ANOTHER, "installation 'there'"),
        (there(SIBLINGS), Circumstances(), Reason.OWNED_BY_ANOTHER, "team/other"),
        # A resource that is still there gives nothing up.
        (there(SIBLINGS), Circumstances(take_over_from="here", owner_exists=True), Reason.OWNED_BY_ANOTHER, "other"),
        (STRANGERS, Circumstances(adopts=False), Reason.NOT_ADOPTED, "adoptionPolicy is Never"),
        (there(RELEASED), Circumstances(adopts=False), Reason.NOT_ADOPTED, "adoptionPolicy is Never"),
        (STRANGERS, Circumstances(losses=("size 3 -> 4",)), Reason.NOT_ADOPTED, "without losing data: size 3 -> 4"),
        (STRANGERS, Circumstances(holds_ledgers=True), Reason.OWNED_BY_ANOTHER, "keeps ledgers in collection 'docs'"),
        (WIPED, Circumstances(adopts=False), Reason.NOT_ADOPTED, "adoptionPolicy is Never"),
    ],
)
def test_a_collection_of_others_stays_as_it_is(found, given, reason, words):
    with pytest.raises(Terminal, match=words) as told:
        claim(NEW, found, given)

    assert told.value.reason is reason


@pytest.mark.parametrize(
    ("found", "needs"),
    [(ABSENT, False), (STRANGERS, False), (there(OURS), False), (REGISTRATIONS_LEFT, False), (WIPED, True)],
)
def test_ledgers_are_asked_only_where_the_metadata_was_emptied(found, needs):
    assert needs_ledgers(found) is needs


@pytest.mark.parametrize(
    ("mark", "refused"), [(None, False), (OURS, False), (RELEASED, False), (SIBLINGS, True), (ANOTHERS, True)]
)
def test_what_is_declared_as_its_users_is_nobody_elses(mark, refused):
    docs = Ref("QdrantCollection", "team", "docs")
    if not refused:
        require_no_owner(mark, "here", docs, is_shared=False)
        return
    with pytest.raises(Terminal, match="so it is not its user's") as told:
        require_no_owner(mark, "here", docs, is_shared=False)
    assert told.value.reason is Reason.OWNED_BY_ANOTHER


@pytest.mark.parametrize(
    "mark", [NEIGHBOURS, replace(NEIGHBOURS, installation="there"), replace(NEIGHBOURS, released=True)]
)
def test_through_a_shared_connection_nothing_of_another_namespace_is_taken_or_named(mark):
    leave = Circumstances(take_over_from=mark.installation, known_incarnation="old", ledger_incarnation="old")

    claim(NEW, there(mark), leave)
    for refused in (
        lambda: claim(NEW, there(mark), replace(leave, is_shared=True)),
        lambda: require_no_owner(mark, "here", Ref("QdrantCollection", "team", "docs"), is_shared=True),
    ):
        with pytest.raises(Terminal, match="a resource of another namespace") as told:
            refused()
        assert told.value.reason is Reason.OWNED_BY_ANOTHER
        assert "rival" not in told.value.message


def test_through_a_shared_connection_a_namespace_keeps_what_is_its_own():
    shared = Circumstances(take_over_from="here", is_shared=True)

    assert claim(NEW, there(OURS), shared) == replace(OURS, deletion_policy="Delete")
    assert claim(NEW, there(SIBLINGS), shared).name == "docs"
    assert claim(NEW, STRANGERS, shared) == NEW
    require_no_owner(None, "here", Ref("QdrantCollection", "team", "docs"), is_shared=True)


def test_an_owner_of_another_installation_is_no_resource_that_could_wake_us():
    assert owner_of(SIBLINGS, "here") == Ref("QdrantCollection", "team", "other")
    assert owner_of(ANOTHERS, "here") is None
    assert owner_of(replace(SIBLINGS, released=True), "here") is None
