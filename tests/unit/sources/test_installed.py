"""A source where the libraries that read it are missing."""

import tomllib
from pathlib import Path

import pytest

from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.sources.installed import LIBRARIES, require_installed

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]


def test_the_extra_is_enough():
    require_installed()

    assert set(LIBRARIES) == {one.partition(">=")[0] for one in PROJECT["optional-dependencies"]["sources"]}


def test_what_is_missing_is_named_with_the_extra_that_brings_it():
    with pytest.raises(Terminal) as refused:
        require_installed(["pyarrow", "no_such_library"])

    assert refused.value.reason is Reason.SOURCE_REFUSED
    assert "(no_such_library)" in refused.value.message
    assert "vectorops[sources]" in refused.value.message
