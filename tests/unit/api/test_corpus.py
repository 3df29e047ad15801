"""The corpus, judged as the command line judges it. tests/integration/test_corpus.py asks an API server the same."""

import pytest

from corpus import Case, cases
from vectorops.api.meta import Resource
from vectorops.api.validation import validate, validate_update


def problems(case: Case) -> list[str]:
    return validate(case.manifest) or (validate_update(case.old, case.manifest) if case.old else [])


@pytest.mark.parametrize("case", cases("good"), ids=str)
def test_a_good_manifest_is_let_through(case: Case):
    assert problems(case) == []


@pytest.mark.parametrize("case", cases("good"), ids=str)
def test_a_good_manifest_can_be_read_as_a_resource(case: Case):
    """The command line hands it to the reconcilers next."""
    resource = Resource.from_object(case.manifest)

    assert (resource.kind, resource.meta.name) == (case.manifest["kind"], case.manifest["metadata"]["name"])


@pytest.mark.parametrize("case", cases("bad"), ids=str)
def test_a_bad_manifest_is_refused_with_words_that_name_the_fault(case: Case):
    told = "\n".join(problems(case))

    assert told
    assert [words for words in case.expect if words not in told] == []


@pytest.mark.parametrize("case", [case for case in cases("bad") if case.old], ids=str)
def test_a_bad_update_is_refused_for_the_change_alone(case: Case):
    assert case.old is not None
    assert validate(case.old) == []
    assert validate(case.manifest) == []


def test_every_bad_case_expects_words():
    assert [str(case) for case in cases("bad") if not case.expect] == []


def test_titles_are_told_apart():
    titles = [str(case) for verdict in ("good", "bad") for case in cases(verdict)]

    assert len(titles) >= 60
    assert len({(verdict, str(case)) for verdict in ("good", "bad") for case in cases(verdict)}) == len(titles)
