"""What a list or a watch shows of an object: its metadata, and the columns of `kubectl get`.

Whatever a tenant writes into a spec is neither sent nor parsed, so that the memory of a start does not depend on how
large specs are, and no spec can keep the operator from seeing the others. From the columns comes what must be known of
all resources at once (`api.kinds.OUTLINE`); a resource is read whole when it is reconciled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from vectorops.api.kinds import KINDS, OUTLINE
from vectorops.api.meta import ANNOTATIONS, JsonObject, ObjectMeta, Resource

PATHS: Final = {
    info.kind: {column.name: column.json_path for column in info.columns if column.json_path in OUTLINE}
    for info in KINDS
}
"""Kind to the columns that are read: name to path."""


def column_names(table: JsonObject) -> list[str]:
    """The names of the columns; none if the table leaves them out, as all but the first of a watch do."""
    return [column["name"] for column in table.get("columnDefinitions") or ()]


def is_complete(kind: str, columns: Sequence[str]) -> bool:
    """Has a table all columns that are read? Not if the CustomResourceDefinitions are older than the operator."""
    return PATHS[kind].keys() <= set(columns)


def outline(kind: str, columns: Sequence[str], row: JsonObject) -> Resource:
    """An object, of whose spec and status there is only what stands in the columns.

    Raises KeyError, TypeError or ValueError if this is no row of an object.
    """
    content: dict[str, JsonObject] = {"spec": {}, "status": {}}
    for name, cell in zip(columns, row["cells"], strict=True):
        path = PATHS[kind].get(name)
        if path is not None and cell is not None:
            _put(content, path, cell)
    raw = row["object"]["metadata"]
    # kubectl keeps the whole manifest in one of the others.
    ours = {name: value for name, value in (raw.get("annotations") or {}).items() if name in ANNOTATIONS}
    meta = ObjectMeta.model_validate({**raw, "annotations": ours})
    return Resource(kind, meta, content["spec"], content["status"])


def _put(content: JsonObject, path: str, cell: Any) -> None:
    if path.startswith(".status.conditions"):
        content["status"]["conditions"] = [{"type": "Ready", "status": cell}]
        return
    *above, field = path.strip(".").split(".")
    for name in above:
        content = content.setdefault(name, {})
    content[field] = cell
