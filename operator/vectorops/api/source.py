"""Where the rows of a PointSet are, and how each becomes a point."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from vectorops.api.meta import FreeJson, LocalRef, Model, Name, OneOf, SecretKeyRef
from vectorops.api.rules import Matches, Rule

MAX_URLS: Final = 100
MAX_COLUMNS: Final = 100

Url = Annotated[str, Field(min_length=1, max_length=2048)]
ColumnName = Annotated[str, Field(min_length=1, max_length=255)]
"""Name of a column. A dot leads into a nested one (`author.name`), unless a column has just that name."""
ColumnNames = Annotated[list[ColumnName], Field(min_length=1, max_length=MAX_COLUMNS)]

Duration = Annotated[
    str,
    Field(max_length=20),
    Matches(
        r"^(0+[hms])*0*[1-9][0-9]*[hms]([0-9]+[hms])*$", "must be a duration longer than 0, such as 90s, 10m or 1h30m"
    ),
]


class Selector(Model):
    """Which ConfigMaps are meant: those that have all of these labels."""

    match_labels: Annotated[
        dict[str, Annotated[str, Field(max_length=63, description="Value of the label.")]],
        Field(min_length=1, max_length=MAX_COLUMNS),
    ] = Field(description="Labels, and the value that each must have.")


class ConfigMapsSource(Model):
    """Files in ConfigMaps of the same namespace: each key is a file."""

    selector: Selector = Field(description="Which ConfigMaps. They also need the label vectorops.dev/source: true.")
    keys: Name | None = Field(default=None, description="Pattern of the keys, such as *.jsonl. Default: all keys.")


class HttpSource(Model):
    """Files behind URLs."""

    urls: Annotated[list[Url], Field(min_length=1, max_length=MAX_URLS)] = Field(
        description="Each is one file; http or https."
    )
    headers_secret_ref: LocalRef | None = Field(
        default=None, description="A Secret; each key is a header of the requests, such as Authorization."
    )
    ca_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Certificates (PEM) to trust instead of the system's."
    )


class S3Source(Model):
    """Objects of a bucket that speaks S3's protocol."""

    url: Annotated[str, Field(max_length=2048), Matches(r"^s3://[^/?#]+/.+$", "must be s3://BUCKET/KEY")] = Field(
        description="s3://BUCKET/KEY. Wildcards (*, ?, [..]) in the key choose objects; ** crosses folders; a key that "
        "ends in / means all objects below it."
    )
    endpoint: Url | None = Field(
        default=None, description="URL of the server. Plain http only if it says http. Default: AWS of the region."
    )
    region: Name | None = Field(default=None, description="Region of the bucket. Default: us-east-1.")
    virtual_hosted_style: bool | None = Field(
        default=None,
        description="Is the bucket in the host name of the requests? Default: true without an endpoint, else false.",
    )
    ca_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Certificates (PEM) to trust instead of the system's."
    )
    credentials_secret_ref: LocalRef | None = Field(
        default=None,
        description="A Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if there is one, AWS_SESSION_TOKEN. "
        "Default: requests are not signed.",
    )


class FilesSource(Model):
    """Files in a folder."""

    path: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="Path with wildcards (*, ?, [..]; ** crosses folders). On the command line it is relative to the "
        "manifest; in the operator to FOLDER/NAMESPACE below the folder that it was started with."
    )


class Source(OneOf):
    """Where the rows are: exactly one of these."""

    config_maps: ConfigMapsSource | None = Field(default=None, description="Files in ConfigMaps.")
    http: HttpSource | None = Field(default=None, description="Files behind URLs.")
    s3: S3Source | None = Field(default=None, description="Objects of a bucket that speaks S3's protocol.")
    files: FilesSource | None = Field(default=None, description="Files in a folder.")


ColumnType = Literal["Text", "Integer", "Number", "Boolean", "JSON"]


class VectorMapping(Model):
    """Where one vector of a point comes from: exactly one of column, embed, template."""

    name: Name | None = Field(default=None, description="Name of the vector. Default: the unnamed one.")
    column: ColumnName | None = Field(default=None, description="A column that holds the numbers.")
    encoding: Literal["JSON"] | None = Field(
        default=None,
        description="JSON: the column holds the numbers as JSON text. Default: it holds a list of numbers.",
    )
    embed: ColumnName | None = Field(default=None, description="A column whose text the vector's embedder embeds.")
    template: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        default=None,
        description="A text made of several columns, which the vector's embedder embeds: {title}: {body}. {{ and }} "
        "stand for braces.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.column), has(self.embed), has(self.template)].exists_one(given, given)",
            "exactly one of column, embed, template is required",
            lambda vector: [vector.column, vector.embed, vector.template].count(None) == 2,
        ),
        Rule(
            "!has(self.encoding) || has(self.column)",
            "encoding is how a column holds numbers: it needs column",
            lambda vector: vector.encoding is None or vector.column is not None,
            field="encoding",
        ),
    )


class PayloadMapping(Model):
    """Which columns become the payload, and under which names."""

    column: ColumnName | None = Field(
        default=None,
        description="A column that holds the whole payload: a struct, a map, an object, or one of these as JSON text.",
    )
    include: ColumnNames | None = Field(default=None, description="Only these columns. Default: all that are left.")
    exclude: ColumnNames | None = Field(default=None, description="All but these columns.")
    rename: (
        Annotated[
            dict[str, Annotated[ColumnName, Field(description="Field of the payload.")]], Field(max_length=MAX_COLUMNS)
        ]
        | None
    ) = Field(default=None, description="Columns, and the payload field that each becomes.")
    constants: FreeJson | None = Field(default=None, description="Fields that every point gets.")
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.include) || !has(self.exclude)",
            "only one of include, exclude may be given",
            lambda payload: payload.include is None or payload.exclude is None,
            field="exclude",
        ),
        Rule(
            "!has(self.column) || !has(self.include) && !has(self.exclude) && !has(self.rename)",
            "a column that holds the whole payload leaves nothing to include, exclude or rename",
            lambda payload: (
                payload.column is None or (payload.include, payload.exclude, payload.rename) == (None, None, None)
            ),
            field="column",
        ),
    )


class Mapping(Model):
    """How a row becomes a point."""

    format: Literal["Parquet", "JSONLines", "CSV", "ArrowIPC"] | None = Field(
        default=None, description="Format of the files. Default: what the end of each file's name says."
    )
    id: ColumnName | None = Field(default=None, description="The column that holds the id. Default: id.")
    id_from: ColumnNames | None = Field(
        default=None, description="Several columns that are the id together: the JSON list of their values."
    )
    vectors: Annotated[list[VectorMapping], Field(max_length=MAX_COLUMNS)] | None = Field(
        default=None,
        description="Where vectors come from. Default: a column that is named as a vector of the collection holds that "
        "vector; `vector` holds the unnamed one, or the only one.",
    )
    payload: PayloadMapping | None = Field(
        default=None, description="Which columns become the payload. Default: all that are neither id nor vector."
    )
    types: (
        Annotated[
            dict[str, Annotated[ColumnType, Field(description="Type of the column.")]], Field(max_length=MAX_COLUMNS)
        ]
        | None
    ) = Field(
        default=None,
        description="What the values of a column are, where the file does not say it: those of CSV are Text, and "
        "decimals become Text.",
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.id) || !has(self.idFrom)",
            "only one of id, idFrom may be given",
            lambda mapping: mapping.id is None or mapping.id_from is None,
            field="idFrom",
        ),
    )
