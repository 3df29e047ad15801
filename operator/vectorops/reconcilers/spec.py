"""The spec of a resource: as its model, or, where it may no longer pass validation, field by field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from vectorops.api.connection import LEDGER_COLLECTION, ClusterQdrantConnectionSpec, QdrantConnectionSpec
from vectorops.api.meta import CLUSTER_QDRANT_CONNECTION, POINT_SET, Model, Resource
from vectorops.api.migration import Migration
from vectorops.api.reasons import Reason
from vectorops.api.validation import explain
from vectorops.errors import Terminal

Spec = TypeVar("Spec", bound=Model)


def parse(model: type[Spec], resource: Resource) -> Spec:
    """The spec as a model. Raises Terminal InvalidSpec that names the first wrong field.

    The API server has checked new objects already; an object from before a rule was tightened may still fail here.
    """
    try:
        return model.model_validate(resource.spec, by_name=False)
    except ValidationError as error:
        raise Terminal(Reason.INVALID_SPEC, explain(error)[0]) from None


def parse_connection(resource: Resource) -> QdrantConnectionSpec:
    """The spec of a connection of either kind. Raises Terminal InvalidSpec."""
    is_cluster_wide = resource.kind == CLUSTER_QDRANT_CONNECTION
    return parse(ClusterQdrantConnectionSpec if is_cluster_wide else QdrantConnectionSpec, resource)


@dataclass(frozen=True, slots=True)
class RawSpec:
    """Single fields of a spec that is not validated, with the defaults of its model.

    For other resources than the one that is reconciled, and for cleaning up: an object that no longer passes validation
    must still be deletable.
    """

    resource: Resource

    @property
    def is_suspended(self) -> bool:
        return bool(self._field("suspend"))

    @property
    def is_users(self) -> bool:
        """Of a QdrantCollection: does its user manage the collection, so that the operator never changes it?"""
        return bool(self._field("managedBy") == "User")

    @property
    def deletes(self) -> bool:
        """Is what the resource owns in Qdrant deleted together with it? A user's collection never is."""
        default = "Delete" if self.resource.kind == POINT_SET else "Retain"
        return not self.is_users and (self._field("deletionPolicy") or default) == "Delete"

    @property
    def collection_name(self) -> str:
        """Of a QdrantCollection: the name in Qdrant."""
        return str(self._field("collectionName") or self.resource.meta.name)

    @property
    def is_aliased(self) -> bool:
        """Of a QdrantCollection: is its name an alias?"""
        return bool(self._field("layout") == "Aliased")

    @property
    def migration_settings(self) -> Migration:
        """Of a QdrantCollection. Where they are not valid, those that keep most."""
        try:
            return Migration.model_validate(self._field("migration") or {}, by_name=False)
        except ValidationError:
            return Migration(retire="Manual")

    @property
    def aliases(self) -> frozenset[str]:
        """Of a QdrantCollection."""
        return frozenset(self._field("aliases") or ())

    @property
    def ledger_collection(self) -> str:
        """Of a connection: the name in Qdrant of the collection that ledgers are kept in."""
        return str(self._field("ledgerCollectionName") or LEDGER_COLLECTION)

    def _field(self, name: str) -> Any:
        return self.resource.spec.get(name)
