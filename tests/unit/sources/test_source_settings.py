"""What an operator, and a command, let sources do."""

from pathlib import Path

import pytest

from vectorops.api.meta import POINT_SET, Ref
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.sources.source_settings import SourceSettings

DOCS = Ref(POINT_SET, "team", "docs")


def test_an_operator_without_a_folder_reads_no_files():
    with pytest.raises(Terminal) as refused:
        SourceSettings().folder_of(DOCS)

    assert refused.value.reason is Reason.SOURCE_REFUSED
    assert "--source-folder" in refused.value.message


def test_in_the_operator_each_namespace_has_a_folder_that_it_may_not_leave():
    settings = SourceSettings(folder=Path("/data"))

    assert settings.folder_of(DOCS) == Path("/data/team")
    assert settings.is_confined


def test_on_the_command_line_paths_begin_where_the_manifest_is():
    settings = SourceSettings(manifest_folders={DOCS: Path("manifests")})

    assert settings.folder_of(DOCS) == Path("manifests")
    assert not settings.is_confined
