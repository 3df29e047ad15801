"""The reconciler of each kind. Both shells hand this to the driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vectorops.api.meta import CLUSTER_QDRANT_CONNECTION, POINT_SET, QDRANT_COLLECTION, QDRANT_CONNECTION
from vectorops.reconcilers.collection import CollectionReconciler
from vectorops.reconcilers.connection import ConnectionReconciler
from vectorops.reconcilers.driver import Reconciler
from vectorops.reconcilers.pointset import PointSetReconciler

RECONCILERS: Final[Mapping[str, Reconciler]] = {
    QDRANT_CONNECTION: ConnectionReconciler(),
    CLUSTER_QDRANT_CONNECTION: ConnectionReconciler(),
    QDRANT_COLLECTION: CollectionReconciler(),
    POINT_SET: PointSetReconciler(),
}
