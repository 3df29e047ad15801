"""Paths of requests: a name never leads to another resource than its own."""

import httpx
import pytest

from vectorops.errors import Rejected
from vectorops.qdrant.rest import segment


@pytest.mark.parametrize("name", ["a/b", "../x", "a?b#c", "%2E%2E", "...", "a b", "é", '"a.b"[]'])
def test_a_name_is_one_segment_of_the_path_that_is_sent(name):
    path = httpx.URL(f"http://qdrant/collections/zoo/vectors/{segment(name)}").raw_path.decode()
    assert path.startswith("/collections/zoo/vectors/")
    assert path.count("/") == 4


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_would_lead_to_the_collection_itself_is_refused(name):
    with pytest.raises(Rejected, match="choose another"):
        segment(name)
