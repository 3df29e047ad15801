"""Files of a folder: which are found, which are refused, and what happens when one changes."""

import os
from pathlib import Path

import pytest
import xxhash

from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient
from vectorops.sources.base import SourceFile
from vectorops.sources.folder import FolderFiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a namespace, with files, beside a secret one."""
    root = tmp_path / "files" / "team"
    for name in ("docs/b.jsonl", "docs/a.jsonl", "docs/2026/c.jsonl", "docs/.d.jsonl", "docs/notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (tmp_path / "files" / "other").mkdir()
    (tmp_path / "files" / "other" / "secret.jsonl").write_text("secret")
    return root


async def names(pattern: str, folder: Path, *, confined: bool = True) -> list[str]:
    return [file.name for file in await FolderFiles(pattern, folder, confined=confined).list()]


async def only(pattern: str, folder: Path) -> tuple[FolderFiles, SourceFile]:
    source = FolderFiles(pattern, folder, confined=True)
    (file,) = await source.list()
    return source, file


async def test_files_are_listed_by_name(folder):
    assert await names("docs/*.jsonl", folder) == ["docs/a.jsonl", "docs/b.jsonl"]
    assert await names("docs/**/*.jsonl", folder) == ["docs/2026/c.jsonl", "docs/a.jsonl", "docs/b.jsonl"]
    assert await names("**", folder) == ["docs/2026/c.jsonl", "docs/a.jsonl", "docs/b.jsonl", "docs/notes.txt"]
    assert await names("*/*/c.jsonl", folder) == ["docs/2026/c.jsonl"]
    assert await names("docs/notes.txt", folder) == ["docs/notes.txt"]


async def test_a_pattern_that_matches_nothing_is_an_empty_list(folder):
    assert await names("docs/*.parquet", folder) == []


async def test_a_file_that_is_named_and_missing_is_an_error(folder):
    with pytest.raises(Terminal, match=r"docs/x\.jsonl: there is no such file") as failed:
        await names("docs/x.jsonl", folder)

    assert failed.value.reason is Reason.SOURCE_MISSING


async def test_a_folder_that_is_named_and_missing_is_an_error(folder, tmp_path):
    """A volume that is not mounted must not look like a source without files."""
    for pattern, where in (("data/*.jsonl", folder), ("*.jsonl", tmp_path / "files" / "unmounted")):
        with pytest.raises(Terminal, match="there is no folder") as failed:
            await names(pattern, where)

        assert failed.value.reason is Reason.SOURCE_MISSING


async def test_a_folder_instead_of_a_file_is_an_error_that_helps(folder):
    with pytest.raises(Terminal, match=r"docs/\* means the files in it") as failed:
        await names("docs", folder)

    assert failed.value.reason is Reason.SOURCE_INVALID


@pytest.mark.parametrize("pattern", ["../other/secret.jsonl", "docs/../../other/*", "/etc/passwd", "/etc/*"])
async def test_no_path_leads_out_of_the_folder_of_the_namespace(folder, pattern):
    with pytest.raises(Terminal) as refused:
        await names(pattern, folder)

    assert refused.value.reason is Reason.SOURCE_REFUSED


@pytest.mark.parametrize("pattern", ["link.jsonl", "*.jsonl", "linked/secret.jsonl", "linked/*", "*/secret.jsonl"])
async def test_no_link_leads_out_of_the_folder_of_the_namespace(folder, pattern):
    (folder / "link.jsonl").symlink_to("../other/secret.jsonl")
    (folder / "linked").symlink_to("../other")

    with pytest.raises(Terminal) as refused:
        await names(pattern, folder)

    assert refused.value.reason is Reason.SOURCE_REFUSED


async def test_a_link_that_was_exchanged_after_the_listing_is_refused(folder):
    (folder / "link.jsonl").symlink_to("docs/a.jsonl")
    source, file = await only("link.jsonl", folder)
    (folder / "link.jsonl").unlink()
    (folder / "link.jsonl").symlink_to("../other/secret.jsonl")

    with pytest.raises(Terminal) as refused:
        await source.fetch(file, folder)

    assert refused.value.reason is Reason.SOURCE_REFUSED


async def test_links_inside_the_folder_are_followed(folder):
    """Volumes of ConfigMaps and git-sync consist of such links."""
    (folder / "current").symlink_to("docs/2026")
    (folder / "c.jsonl").symlink_to("current/c.jsonl")

    assert await names("current/*.jsonl", folder) == ["current/c.jsonl"]
    assert await names("*/c.jsonl", folder) == ["current/c.jsonl"]
    assert await names("*.jsonl", folder) == ["c.jsonl"]


async def test_a_link_to_a_folder_above_does_not_keep_the_search_going(folder):
    (folder / "docs" / "up").symlink_to("..")
    (folder / "docs" / "itself").symlink_to("itself")

    assert await names("**/c.jsonl", folder) == ["docs/2026/c.jsonl"]
    with pytest.raises(Transient) as failed:
        await names("docs/itself", folder)
    assert failed.value.reason is Reason.SOURCE_UNAVAILABLE


@pytest.mark.parametrize("pattern", ["*.jsonl", "lost.jsonl", "**", "*/*.jsonl", "lost.jsonl/*.jsonl"])
async def test_a_link_that_leads_nowhere_is_missed_where_it_may_stand_for_files(folder, pattern):
    """What it led to is on a volume that is not mounted, say: the rows must not count as gone."""
    (folder / "lost.jsonl").symlink_to("volume/a.jsonl")

    with pytest.raises(Terminal) as failed:
        await names(pattern, folder)
    assert failed.value.reason is Reason.SOURCE_MISSING
    assert "lost.jsonl" in failed.value.message

    assert await names("docs/*.jsonl", folder) == ["docs/a.jsonl", "docs/b.jsonl"]
    assert await names("**/*.txt", folder) == ["docs/notes.txt"]


async def test_at_the_command_line_a_path_may_lead_anywhere(folder):
    assert await names("../other/*.jsonl", folder, confined=False) == ["../other/secret.jsonl"]
    secret = str(folder.parent / "other" / "secret.jsonl")
    assert await names(secret, folder, confined=False) == [secret]
    assert await names(f"{folder.parent}/*/secret.jsonl", folder, confined=False) == [secret]


async def test_what_is_no_file_is_not_read(folder):
    """Opening a pipe would wait for a writer for ever."""
    os.mkfifo(folder / "pipe.jsonl")

    assert await names("*.jsonl", folder) == []
    with pytest.raises(Terminal, match="this is no file"):
        await names("pipe.jsonl", folder)


async def test_a_file_is_read_where_it_is(folder, tmp_path):
    source, file = await only("docs/a.jsonl", folder)

    fetched = await source.fetch(file, tmp_path / "not-used")

    assert fetched.path == folder / "docs/a.jsonl"
    assert fetched.digest == xxhash.xxh3_128_hexdigest(b"docs/a.jsonl")
    assert not fetched.is_temporary
    assert file.size == len("docs/a.jsonl")


async def test_a_file_has_the_same_version_until_it_changes(folder):
    _, before = await only("docs/a.jsonl", folder)
    _, same = await only("docs/*a.jsonl", folder)
    os.utime(folder / "docs/a.jsonl", ns=(1, 1))
    _, after = await only("docs/a.jsonl", folder)

    assert before == same
    assert before.version != after.version


@pytest.mark.parametrize("change", ["rewrite", "replace", "remove"])
async def test_a_file_that_changed_since_the_listing_is_not_taken(folder, change):
    source, file = await only("docs/a.jsonl", folder)
    path = folder / "docs/a.jsonl"
    if change == "rewrite":
        path.write_text("longer than before")
    elif change == "replace":
        before = path.stat()
        (folder / "new").write_text("docs/A.jsonl")
        os.utime(folder / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
        (folder / "new").rename(path)
    else:
        path.unlink()

    with pytest.raises(Transient) as failed:
        await source.fetch(file, folder)

    assert failed.value.reason is Reason.SOURCE_CHANGED
    assert "docs/a.jsonl" in failed.value.message


async def test_a_name_that_is_no_text_is_refused(folder):
    (Path(os.fsdecode(os.fsencode(folder) + b"/docs/\xff.csv"))).write_text("")

    with pytest.raises(Terminal, match="not UTF-8"):
        await names("docs/*.csv", folder)
    with pytest.raises(Terminal, match="NUL"):
        await names("docs/\0.csv", folder)
