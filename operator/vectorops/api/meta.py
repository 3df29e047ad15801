"""What all our resources share: the group, references, metadata, conditions and the base model.

Models are strict on purpose: what the API server refuses, the command line refuses too (`tests/corpus` holds both to
it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from vectorops.api.nesting import bounded
from vectorops.api.rules import Matches, Rule, Unique, UpdateRule, broken, schemas

GROUP: Final = "vectorops.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
FINALIZER: Final = f"{GROUP}/cleanup"
SOURCE_LABEL: Final = f"{GROUP}/source"
"""Of a ConfigMap, with the value `true`: PointSets may have it as a source. No other ConfigMap is read or watched."""

# Annotations that people set; what each does is told in ANNOTATIONS.
RECONCILE: Final = f"{GROUP}/reconcile"
VERIFY: Final = f"{GROUP}/verify"
APPROVE_PLAN: Final = f"{GROUP}/approve-plan"
TAKE_OVER_FROM: Final = f"{GROUP}/take-over-from"
ROLL_BACK: Final = f"{GROUP}/roll-back"
SKIP_CLEANUP: Final = f"{GROUP}/skip-cleanup"

ANNOTATIONS: Final = {
    RECONCILE: "Any new value: look at the resource now. Answered in `status.lastHandledReconcileAt`.",
    VERIFY: "Any new value, at a PointSet: compare all points with Qdrant now, and not only a share of a large set. "
    "Answered in `status.lastHandledVerifyAt`.",
    APPROVE_PLAN: "The hash in `status.plan`: do what was held back, once. At the command line: `apply --approve`.",
    TAKE_OVER_FROM: "The name of an installation: take its collection over, once; set after the resource has a status. "
    "Answered in `status.lastHandledTakeOverFrom`. At the command line: `apply --take-over-from`.",
    ROLL_BACK: "The incarnation in `status.migration.to`, at a QdrantCollection in its grace period: move readers back "
    "to the old collection, once. At the command line: `apply --roll-back`.",
    SKIP_CLEANUP: '`"true"`: let the resource go without cleaning up in Qdrant.',
}
"""What each annotation does, for the API reference."""

QDRANT_CONNECTION: Final = "QdrantConnection"
CLUSTER_QDRANT_CONNECTION: Final = "ClusterQdrantConnection"
QDRANT_COLLECTION: Final = "QdrantCollection"
POINT_SET: Final = "PointSet"

ConnectionKind = Literal["QdrantConnection", "ClusterQdrantConnection"]
"""Kinds of connections, as a field names one. Where a stored field names none, it is QdrantConnection."""

JsonObject = dict[str, Any]

FreeJson = Annotated[JsonObject, AfterValidator(bounded)]
"""A JSON object of the user's own, handed on to Qdrant. Every such field of a spec has this type."""

Whole: Final = BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
"""Marks an integer of a spec. As the API server does, it takes 384.0 for 384."""

WithoutNulls: Final = BeforeValidator(
    lambda values: (
        {key: value for key, value in values.items() if value is not None} if isinstance(values, dict) else values
    )
)
"""Marks a map of a spec. As the API server does, it drops keys whose value is null."""

ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Matches(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "must be the name of an object: lowercase letters, digits, - and ., with a letter or digit at either end and "
        "beside each .",
    ),
]
"""The name of an object in the same namespace (RFC 1123 subdomain)."""

NamespaceName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    Matches(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "must be the name of a namespace: lowercase letters, digits and -, with a letter or digit at either end",
    ),
]
"""The name of a namespace (RFC 1123 label)."""

_IN_NAMES: Final = r'[^/\\:*?"<>|\x00\x1f]'
_NO_DOT: Final = r'[^./\\:*?"<>|\x00\x1f]'
_COLLECTION_NAME: Final = rf"^({_NO_DOT}{_IN_NAMES}*|\.{_NO_DOT}{_IN_NAMES}*|\.\.{_IN_NAMES}+)$"

CollectionName = Annotated[
    str,
    Field(min_length=1, max_length=255),
    Matches(
        _COLLECTION_NAME,
        'must be a name that Qdrant takes: none of / \\ : * ? " < > | in it, no NUL, no U+001F, and neither . nor ..',
    ),
]
"""What Qdrant 1.16 accepts as a collection's name, but for `.` and `..`, which lead elsewhere in the path of a
request. It checks no alias, so that `a/b` would be out of reach: we do.
"""

Name = Annotated[str, Field(min_length=1, max_length=255)]
"""A name without further rules: of a vector, of a payload field."""


@dataclass(frozen=True, slots=True)
class Ref:
    """Names one object of ours. Hashable: it is the key of the work queue."""

    kind: str
    namespace: str
    """Empty if the kind is cluster-scoped."""
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Model(BaseModel):
    """Base of everything in a spec or status: camelCase outside, snake_case inside, unknown fields refused.

    rules: what must hold between the fields of this object.
    update_rules: what must hold between the old and the new object, when both are there.
    """

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid", frozen=True, strict=True)
    rules: ClassVar[tuple[Rule, ...]] = ()
    update_rules: ClassVar[tuple[UpdateRule, ...]] = ()

    def dump(self) -> JsonObject:
        """As in YAML: camelCase, absent fields left out."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")

    @model_validator(mode="after")
    def _keeps_the_rules(self) -> Self:
        if self.rules and (found := broken(self.rules, self)):
            text = "; ".join(rule.message for rule in found)
            raise PydanticCustomError("rules", "{text}", {"text": text, "rules": found})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Puts the CEL of the rules where `crd` finds it."""
        described = handler(schema)
        if validations := schemas(cls.rules, cls.update_rules):
            handler.resolve_ref_schema(described)["x-kubernetes-validations"] = validations
        return described


class OneOf(Model):
    """An object of which exactly one field is set."""

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if len([value for value in self.__dict__.values() if value is not None]) != 1:
            fields = ", ".join(field.alias or name for name, field in type(self).model_fields.items())
            raise PydanticCustomError("union", "must have exactly one of {fields}", {"fields": fields})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The same for the API server, which drops nulls before it counts."""
        described = super().__get_pydantic_json_schema__(schema, handler)
        handler.resolve_ref_schema(described).update(minProperties=1, maxProperties=1)
        return described


class LocalRef(Model):
    """Names an object in the namespace of the one that refers to it. No reference crosses a namespace."""

    name: ObjectName = Field(description="Name of the object, in the same namespace.")


class SecretRef(Model):
    """Names a Secret: in the namespace of the resource that names it, if that has one."""

    name: ObjectName = Field(description="Name of the Secret.")


class SecretKeyRef(Model):
    """One key of a Secret: in the namespace of the resource that names it, if that has one."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: Annotated[str, Matches(r"^[-._a-zA-Z0-9]+$", "must be a key of a Secret: letters, digits, -, _ and .")] = (
        Field(min_length=1, max_length=253, description="Key in the Secret's data.")
    )


class Condition(Model):
    """One thing that is so or not (metav1.Condition)."""

    type: str = Field(description="Ready, Reconciling, Stalled or Drifted.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(description="A word for machines; see the list of reasons in the documentation.")
    message: str = Field(default="", description="What is so, where, and what to do, for people.")
    observed_generation: int | None = Field(default=None, description="The generation that this condition speaks of.")
    # Filled by `reconcilers.status.merge`, never by a reconciler.
    last_transition_time: str | None = Field(
        default=None, description="When `status` last changed (RFC 3339).", json_schema_extra={"format": "date-time"}
    )


ObservedGeneration = Annotated[int, Field(description="The generation of the spec that this status speaks of.")]
Conditions = Annotated[list[Condition], Unique("type")]


class Status(Model):
    """What the status of every kind has. Reconcilers set the fields that they know of; all others stay as they were."""

    observed_generation: ObservedGeneration = -1
    conditions: Conditions = Field(default_factory=list, description="Ready; Reconciling and Stalled only while true.")

    def dump_set(self) -> JsonObject:
        """The fields that were set, as in YAML. None: the field is to be absent, as an empty list is."""
        dumped = self.dump()
        names = {type(self).model_fields[field].alias or field for field in self.model_fields_set}
        return {name: None if (value := dumped.get(name)) == [] else value for name in names}

    @property
    def ready(self) -> Condition | None:
        """The condition Ready."""
        return next((condition for condition in self.conditions if condition.type == "Ready"), None)


class ObjectMeta(BaseModel):
    """The part of metav1.ObjectMeta that we use. Unlike ours, foreign fields are let through."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="ignore", frozen=True)

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, raw: JsonObject) -> JsonObject:
        """As the API server reads a manifest: a null field is absent, a null label is empty."""
        return {
            field: {key: "" if text is None else text for key, text in value.items()}
            if isinstance(value, dict)
            else value
            for field, value in raw.items()
            if value is not None
        }


@dataclass(frozen=True, slots=True)
class Resource:
    """One object as read from the cluster or from a file, its spec and status still raw.

    spec: not validated; the reconciler of the kind does it, so that an old object cannot break a listing.
    status: {} if there is none.
    """

    kind: str
    meta: ObjectMeta
    spec: JsonObject
    status: JsonObject

    @classmethod
    def from_object(cls, raw: JsonObject) -> Resource:
        """From the JSON of the API server or of a manifest."""
        meta = ObjectMeta.model_validate(raw.get("metadata") or {})
        return cls(kind=raw["kind"], meta=meta, spec=raw.get("spec") or {}, status=raw.get("status") or {})

    @property
    def ref(self) -> Ref:
        return Ref(self.kind, self.meta.namespace, self.meta.name)

    @property
    def deleting(self) -> bool:
        return self.meta.deletion_timestamp is not None

    def condition(self, type: str) -> JsonObject | None:
        """The condition of this type as it stands in status."""
        return next((c for c in self.status.get("conditions", ()) if c.get("type") == type), None)

    @property
    def is_new(self) -> bool:
        """Has no status been written yet, or was it lost? The API server fills in a generation of -1."""
        return bool(self.status.get("observedGeneration", -1) == -1)

    @property
    def ready(self) -> bool:
        """Is Ready=True, and does it speak of the current spec?"""
        condition = self.condition("Ready")
        return (
            condition is not None
            and condition.get("status") == "True"
            and self.status.get("observedGeneration") == self.meta.generation
        )
