"""Which reconciler looks after which kind. Both shells hand this to the driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vectorops.reconcilers.collection import CollectionReconciler
from vectorops.reconcilers.connection import ConnectionReconciler
from vectorops.reconcilers.driver import Reconciler
from vectorops.reconcilers.pointset import PointSetReconciler

RECONCILERS: Final[Mapping[str, Reconciler]] = {
    "QdrantConnection": ConnectionReconciler(),
    "QdrantCollection": CollectionReconciler(),
    "PointSet": PointSetReconciler(),
}
