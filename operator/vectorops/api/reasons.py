"""Every reason that a condition can carry. Reasons are API: alerts and scripts match on them.

The meaning beside each is its entry in the API reference (tools/reference_page.py).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Reasons of the conditions Ready, Reconciling, Stalled, Drifted, Unhealthy and QualityDegraded."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """meaning: what is so, for a person who has met the reason in a status or an alert."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    # Everything is as declared.
    SUCCEEDED = "Succeeded", "Everything is as declared."
    SUSPENDED = "Suspended", "`spec.suspend` is true: nothing is compared and nothing is changed."
    PROGRESSING = "Progressing", "Work is under way, or is tried again."
    # The connection.
    UNREACHABLE = "Unreachable", "No answer from the server: refused, timed out, or the name does not resolve."
    UNAUTHORIZED = "Unauthorized", "The server refuses the API key, or the key may not write to the whole database."
    CERTIFICATE_INVALID = "CertificateInvalid", "The server's certificate, or ours, is not accepted."
    UNSUPPORTED_VERSION = "UnsupportedVersion", "The server is older than Qdrant 1.16."
    SECRET_NOT_FOUND = "SecretNotFound", "A Secret that the resource names, or a key in it, does not exist."
    SECRET_INVALID = "SecretInvalid", "A Secret holds something that cannot be used, as a certificate that is none."
    INVALID_URL = "InvalidURL", "`spec.url` cannot be used."
    NOT_QDRANT = "NotQdrant", "Something answers at `spec.url`, and it is not Qdrant."
    # The server.
    RATE_LIMITED = "RateLimited", "The server asked to be called less often; it is called again later."
    OUT_OF_SPACE = "OutOfSpace", "The server has no room for more data; it is tried again, and deletions go on."
    SERVER_ERROR = "ServerError", "The server failed to do what was asked; it is asked again."
    REQUEST_REJECTED = "RequestRejected", "The server refused what was asked; the message holds its words."
    UNSUPPORTED_BY_SERVER = "UnsupportedByServer", "A declared option has no effect on this version of the server."
    # Dependencies.
    CONNECTION_NOT_FOUND = "ConnectionNotFound", "There is no connection of that kind and name."
    CONNECTION_NOT_READY = "ConnectionNotReady", "The connection is not ready; its own status says why."
    NOT_ALLOWED = (
        "NotAllowed",
        "The ClusterQdrantConnection does not allow this to the namespace, or the operator does not allow it.",
    )
    COLLECTION_NOT_FOUND = (
        "CollectionNotFound",
        "The collection, or the QdrantCollection that is named, does not exist.",
    )
    COLLECTION_NOT_READY = "CollectionNotReady", "The QdrantCollection is not ready; its own status says why."
    # The collection.
    INVALID_SPEC = "InvalidSpec", "The resource was stored before a rule that it breaks, or contradicts itself."
    NOT_ADOPTED = (
        "NotAdopted",
        "A collection of that name was there first: `spec.adoptionPolicy` leaves it alone, or it can keep no ledgers.",
    )
    OWNED_BY_ANOTHER = (
        "OwnedByAnother",
        "Something else owns the collection, or the ConfigMap NAME-reader; or ledgers are kept in the collection.",
    )
    UNKNOWN_MARK = "UnknownMark", "The collection carries an ownership mark that is damaged, or of a newer version."
    SCHEMA_MISMATCH = "SchemaMismatch", "The collection differs from what is declared, and may not be changed."
    PLAN_HELD_BACK = "PlanHeldBack", "A change cannot be made in place: `status.plan` says what it takes, and its hash."
    MIGRATING = (
        "Migrating",
        "Another collection is filled beside this one, and readers are moved to it: `status.migration` says how far.",
    )
    MIGRATION_BLOCKED = "MigrationBlocked", "The migration cannot go on: `status.migration.message` says what to do."
    CHECKS_FAILED = "ChecksFailed", "The new collection answers the checks worse than their thresholds allow."
    ROLLED_BACK = "RolledBack", "Readers were moved back: the same change waits for approval, or for another one."
    QUALITY_DEGRADED = "QualityDegraded", "The collection answers its checks worse than their thresholds allow."
    ALIAS_TAKEN = "AliasTaken", "An alias already leads to another collection; it is not moved."
    REPLICAS_MISSING = (
        "ReplicasMissing",
        "On a distributed Qdrant, a shard has fewer active replicas than `params.replication_factor` says.",
    )
    DRIFTED = "Drifted", "Somebody else changed the collection, and `spec.driftPolicy` is Report."
    UNHEALTHY = "Unhealthy", "Qdrant says that the collection is not well, or warns: the message holds its words."
    # The embedder.
    MODEL_NOT_FOUND = "ModelNotFound", "The model, its revision or its files are not to be found."
    MODEL_GATED = "ModelGated", "The model hub gives the model's files only to those who accepted its terms."
    MODEL_REFUSED = (
        "ModelRefused",
        "The model may not be used: not on the allow-list, without safetensors, or with code of its own.",
    )
    EMBEDDER_NOT_INSTALLED = "EmbedderNotInstalled", "The library that runs the model is not part of this image."
    EMBEDDER_UNREACHABLE = "EmbedderUnreachable", "The model hub or the embedding server does not answer."
    EMBEDDER_UNAUTHORIZED = "EmbedderUnauthorized", "The embedding server refuses the API key."
    EMBEDDER_REJECTED = "EmbedderRejected", "The embedding server refused what was asked, or answered with nonsense."
    EMBEDDER_FAILED = "EmbedderFailed", "The model could not be loaded or run, or its process was killed."
    EMBEDDER_MISMATCH = "EmbedderMismatch", "The model gives vectors of another kind or size than it was resolved to."
    # The source of the points.
    SOURCE_INVALID = (
        "SourceInvalid",
        "The source cannot be read as it is declared: its address, its credentials, or the format of a file.",
    )
    SOURCE_REFUSED = (
        "SourceRefused",
        "The operator does not allow this source or its host, or lacks the libraries that read it.",
    )
    SOURCE_MISSING = "SourceMissing", "A file that the source names is not there: nothing is written or deleted."
    SOURCE_UNAVAILABLE = "SourceUnavailable", "The server of the source does not answer, or not to the end."
    SOURCE_CHANGED = "SourceChanged", "A file of the source changed while it was read: it is read again."
    SOURCE_EMPTY = (
        "SourceEmpty",
        "The source has no rows, and `spec.allowEmptySource` does not say that this may delete all points.",
    )
    STAGING_FULL = "StagingFull", "The rows of the source do not fit into the operator's staging folder."
    DELETIONS_HELD_BACK = (
        "DeletionsHeldBack",
        "More points would be deleted than `spec.maxDeletePercent` allows: `status.plan` says how many, and its hash.",
    )
    # The points.
    POINT_CONFLICTS = "PointConflicts", "Other writers hold some of the declared ids; their points are left alone."
    POINTS_FAILED = "PointsFailed", "Some points could not be written: `status.failures` says which, and why."
    COLLECTION_REPLACED = (
        "CollectionReplaced",
        "In a collection of its user's, many points of the set are gone or changed at once: nothing is written.",
    )
    LEDGER_DAMAGED = (
        "LedgerDamaged",
        "A record of the set's own ledger is missing or damaged: nothing is written or deleted.",
    )
    LEDGER_UNREADABLE = (
        "LedgerUnreadable",
        "This version cannot read a record of a ledger, of this or another set: no point is deleted.",
    )
    LEDGER_LOST = (
        "LedgerLost",
        "The record of the set's points was lost once: declared points were taken back, none was deleted.",
    )
    ANOTHER_WRITER = "AnotherWriter", "Another process writes the same set at the moment."
    # Deletion.
    DELETING = "Deleting", "The resource is being deleted, and what it leaves in Qdrant is cleaned up."
    DELETION_BLOCKED = "DeletionBlocked", "Other resources still need this one: delete them first."
    # Ours.
    INTERNAL_ERROR = "InternalError", "A fault of the operator; its log has the details. Please report it."
    KUBERNETES_API = "KubernetesAPI", "The Kubernetes API did not do what was asked; it is asked again."
