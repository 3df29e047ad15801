"""The folder in which rows wait: bounded, and empty afterwards."""

import pytest

from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient
from vectorops.points.staging_folder import PREFIX, StagingFolder


def test_what_was_staged_is_gone_at_the_end_whatever_happens(tmp_path):
    folder = StagingFolder(tmp_path / "staging", 10)

    def fail() -> None:
        with folder.space() as space:
            space.take(10)
            (space.path / "rows").write_text("rows")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list((tmp_path / "staging").iterdir()) == []
    with folder.space() as space:
        space.take(10)


def test_a_set_that_needs_too_much_alone_says_so_and_one_beside_others_waits(tmp_path):
    folder = StagingFolder(tmp_path, 10)

    with folder.space() as one, folder.space() as other:
        one.take(6)
        with pytest.raises(Transient) as busy:
            other.take(5)
        with pytest.raises(Terminal) as full:
            one.take(5)
        one.give_back(4)
        other.take(5)

    assert busy.value.reason is full.value.reason is Reason.STAGING_FULL
    assert "--staging-bytes" in full.value.message


@pytest.mark.parametrize("is_ours", [True, False])
def test_only_a_folder_of_ones_own_is_cleared_of_what_was_left(tmp_path, is_ours):
    left = tmp_path / f"{PREFIX}left"
    left.mkdir()
    (tmp_path / "other").mkdir()

    StagingFolder(tmp_path, 10, is_ours=is_ours)

    assert left.exists() is not is_ours
    assert (tmp_path / "other").exists()
