"""Which paths a pattern means."""

import pytest

from vectorops.sources.wildcards import Wildcards


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("docs/a.parquet", "docs/a.parquet"),
        ("docs/*.parquet", "docs/a.parquet"),
        ("docs/?.parquet", "docs/a.parquet"),
        ("docs/[ab].parquet", "docs/a.parquet"),
        ("docs/[*].csv", "docs/*.csv"),
        ("*/part-*", "lang=de/part-0"),
        ("**/*.csv", "a.csv"),
        ("**/*.csv", "x/y/a.csv"),
        ("docs/**", "docs/a"),
        ("docs/**", "docs/x/y/a"),
        ("docs/**/x/*.csv", "docs/x/a.csv"),
        ("docs/**/x/*.csv", "docs/1/x/2/x/a.csv"),
        ("docs/**/**/a", "docs/a"),
        (".hidden/*", ".hidden/a"),
        (".*/a", ".hidden/a"),
        ("docs/*", "docs/ä b+c"),
        ("p//*", "p//x"),
    ],
)
def test_a_path_that_is_meant(pattern, path):
    assert Wildcards(pattern).matches(path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("docs/*.parquet", "docs/x/a.parquet"),
        ("docs/*.parquet", "docs/a.parquet.tmp"),
        ("docs/*", "docs/.a.parquet.crc"),
        ("docs/**", "docs/.cache/a"),
        ("docs/**", "docs"),
        ("docs/*", "docs2/a"),
        ("docs/A*", "docs/a1"),
        ("**/x/*.csv", "x/y/a.csv"),
        ("*", "a/b"),
    ],
)
def test_a_path_that_is_not_meant(pattern, path):
    assert not Wildcards(pattern).matches(path)


def test_a_path_without_wildcards_is_literal():
    assert Wildcards("docs/a{1}.parquet").is_literal
    assert not Wildcards("docs/a[1].parquet").is_literal


@pytest.mark.parametrize(
    ("pattern", "folder", "prefix"),
    [
        ("docs/2026/part-*.parquet", "docs/2026/", "docs/2026/part-"),
        ("docs/**", "docs/", "docs/"),
        ("*.csv", "", ""),
        ("docs/a.csv", "docs/", "docs/a.csv"),
    ],
)
def test_what_all_paths_begin_with_is_known(pattern, folder, prefix):
    assert (Wildcards(pattern).folder, Wildcards(pattern).prefix) == (folder, prefix)


def test_a_pattern_of_many_wildcards_ends():
    """With backtracking, this would not end while anybody waits."""
    assert not Wildcards("**/a/" * 200 + "b").matches("a/" * 400 + "c")
    assert not Wildcards("*a" * 200 + "b").matches("a" * 800)
