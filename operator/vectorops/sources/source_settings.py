"""What whoever runs the operator, or the command line, allows sources to do and to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vectorops.api.meta import Ref
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """Limits of sources, and the folders that they may read and write."""

    allowed_hosts: tuple[str, ...] = ()
    """Patterns as in `fnmatch`; empty allows all but link-local addresses."""
    folder: Path | None = None
    """Of the operator: `files` sources of a namespace are below FOLDER/NAMESPACE. None: there are none."""
    manifest_folders: Mapping[Ref, Path] | None = None
    """Of the command line: the folder of the file that each resource comes from. None in the operator."""
    staging_folder: Path | None = None
    """For rows while they are compared. None: a temporary folder of the process."""
    staging_bytes: int = 10 * 2**30
    """Most bytes in the staging folder, for all sets together."""
    max_unpacked_bytes: int = 10 * 2**30
    """Most bytes that one compressed file may unpack to."""

    @property
    def is_confined(self) -> bool:
        """Must the files of a `files` source be below `folder_of`, after links are resolved? So in the operator."""
        return self.manifest_folders is None

    def folder_of(self, point_set: Ref) -> Path:
        """The folder that the path of a `files` source begins in. Raises Terminal SourceRefused."""
        if self.manifest_folders is not None:
            return self.manifest_folders.get(point_set, Path())
        if self.folder is None:
            raise Terminal(
                Reason.SOURCE_REFUSED,
                "spec.source.files: this operator reads no files: use another source, or start the operator with "
                "--source-folder (chart: sources.folder)",
            )
        return self.folder / point_set.namespace
