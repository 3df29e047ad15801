"""What `plan` is given to work with cannot write."""

import inspect

import pytest

from vectorops.local.session import READS, read_only
from vectorops.qdrant.database import Database
from vectorops.qdrant.local import LocalQdrant

METHODS = {name for name, _ in inspect.getmembers(Database, inspect.isfunction) if not name.startswith("_")}


def test_only_methods_that_a_database_has_are_let_through():
    assert READS < METHODS


@pytest.mark.parametrize("method", sorted(METHODS - READS))
def test_a_method_that_may_write_is_refused(tmp_path, method):
    database = read_only(LocalQdrant(tmp_path / "storage"))

    with pytest.raises(AssertionError, match=f"called {method}"):
        getattr(database, method)()

    assert not (tmp_path / "storage").exists()


async def test_reading_works_and_the_database_is_still_of_its_class(tmp_path):
    database = read_only(LocalQdrant(tmp_path / "storage"))

    assert (await database.check()).version
    assert await database.collection_names() == []
    assert isinstance(database, LocalQdrant)
    await database.close()
