"""Keeps the ConfigMap from which readers of a collection learn what to ask.

It is written after the aliases: a reader by the alias is moved in one moment, one by the ConfigMap when it reads it.
The collection that readers leave stays until the grace period is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from vectorops.api.collection import QdrantCollectionSpec, QdrantCollectionStatus
from vectorops.api.meta import Resource
from vectorops.api.reasons import Reason
from vectorops.collections.reader_contract import Served, reader_content
from vectorops.embedders.base import Resolved
from vectorops.errors import Terminal, Transient
from vectorops.qdrant.observe import Observed
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.dependencies import Access
from vectorops.reconcilers.spec import RawSpec, parse_connection

MAX_NAME: Final = 253
"""Characters of the name of a ConfigMap."""
REFUSED_SECONDS: Final = 60.0
"""When a ConfigMap that was refused is tried again: a right that is granted tells nobody."""


async def keep_reader(
    context: Context,
    resource: Resource,
    spec: QdrantCollectionSpec,
    access: Access,
    observed: Observed,
    embedders: Mapping[str, Resolved],
    answer: Outcome,
) -> Outcome:
    """Writes the ConfigMap NAME-reader if `readerConfigMap` is true and its content differs, deletes it if it is no
    longer true, and returns the answer with `status.readerConfigMap`.

    observed: the collection that readers are to ask, with the models that made what is in it. answer: about the same
    collection; a ConfigMap that cannot be kept must hold up what would move readers or delete what they ask.
    Raises Terminal: NotAllowed without the right, OwnedByAnother if the name is taken, InvalidSpec if it is too long.
    Raises Transient.
    """
    status = answer.status
    assert isinstance(status, QdrantCollectionStatus), "the answer is about a collection"
    name = f"{resource.meta.name}-reader"
    kept = None
    if spec.effective_reader_config_map:
        if len(name) > MAX_NAME:
            words = f"spec.readerConfigMap: NAME-reader has {len(name)} characters, and Kubernetes takes {MAX_NAME}"
            raise Terminal(Reason.INVALID_SPEC, f"{words}: give the resource a shorter name")
        connection = await context.cluster.get(access.connection)
        if connection is None or status.collection is None:
            raise Transient(Reason.PROGRESSING, f"{access.connection} was deleted meanwhile; looking again")
        raw = RawSpec(resource)
        served = Served(raw.collection_name, raw.aliases, status.collection, observed, embedders)
        content = reader_content(parse_connection(connection), served)
        try:
            kept = name if await context.cluster.keep_config_map(resource, name, content) else None
        except Terminal as error:
            error.retry_after = REFUSED_SECONDS
            raise
    elif resource.status.get("readerConfigMap"):
        try:
            await context.cluster.delete_config_map(resource, name)
        except Terminal as error:
            # Not tried again: what stays behind goes with the resource.
            words = f"ConfigMap {name!r} stays, and nobody keeps it current any more: delete it; {error.message}"
            await context.cluster.event(resource, error.reason.value, words, warning=True)
    return replace(answer, status=status.model_copy(update={"reader_config_map": kept}))
