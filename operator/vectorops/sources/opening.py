"""From what a PointSet declares to the source itself. Which Secrets that takes is known before one is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from vectorops.api import source as api
from vectorops.api.meta import SecretKeyRef
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient
from vectorops.outbound import AllowedHosts
from vectorops.sources.base import FetchLimits, OpenedSource
from vectorops.sources.bucket import BucketFiles
from vectorops.sources.config_maps import ConfigMapFiles, ReadConfigMaps
from vectorops.sources.folder import FolderFiles
from vectorops.sources.signing import S3Credentials
from vectorops.sources.urls import UrlFiles

HEADERS: Final = "source.http.headersSecretRef"
HTTP_CA: Final = "source.http.caSecretRef"
CREDENTIALS: Final = "source.s3.credentialsSecretRef"
S3_CA: Final = "source.s3.caSecretRef"

Secrets = Mapping[str, Mapping[str, bytes]]
"""The values of Secrets, by key, by the field that names the Secret."""


def secret_names(declared: api.Source) -> dict[str, str]:
    """The Secrets that a source names, by the field that names each. All are in the resource's own namespace."""
    refs = {
        HEADERS: declared.http and declared.http.headers_secret_ref,
        HTTP_CA: declared.http and declared.http.ca_secret_ref,
        CREDENTIALS: declared.s3 and declared.s3.credentials_secret_ref,
        S3_CA: declared.s3 and declared.s3.ca_secret_ref,
    }
    return {place: ref.name for place, ref in refs.items() if ref}


def open_source(
    declared: api.Source,
    *,
    secrets: Secrets,
    allowed_hosts: tuple[str, ...],
    folder: Callable[[], Path],
    confined: bool,
    config_maps: ReadConfigMaps | None,
    limits: FetchLimits | None = None,
) -> OpenedSource:
    """The source. Nothing is sent yet.

    secrets: those of `secret_names`, whole. allowed_hosts: patterns of hosts; none: all. folder: finds what the path of
    `files` is relative to, or raises. confined: must its files be below that folder? config_maps: reads those of the
    namespace; None: the operator has no right to.

    Raises Terminal SourceInvalid, SourceRefused, SecretInvalid; Transient SecretNotFound for a key that is missing.
    """
    allowed = AllowedHosts(allowed_hosts, Reason.SOURCE_REFUSED, "--allowed-source-host")
    if declared.http is not None:
        return UrlFiles(
            declared.http.urls,
            allowed,
            headers=secrets[HEADERS] if declared.http.headers_secret_ref else None,
            trusted=_certificates(secrets, HTTP_CA, declared.http.ca_secret_ref),
            limits=limits,
        )
    if declared.s3 is not None:
        return BucketFiles(
            declared.s3,
            allowed,
            credentials=_credentials(secrets) if declared.s3.credentials_secret_ref else None,
            trusted=_certificates(secrets, S3_CA, declared.s3.ca_secret_ref),
            limits=limits,
        )
    if declared.config_maps is not None:
        if config_maps is None:
            raise Terminal(
                Reason.SOURCE_REFUSED,
                "source.configMaps: this operator has no right to read ConfigMaps; its installation gives it (chart: "
                "rbac.configMaps)",
            )
        return ConfigMapFiles(declared.config_maps, config_maps)
    assert declared.files is not None  # a rule of the model: exactly one
    return FolderFiles(declared.files.path, folder(), confined=confined)


def _certificates(secrets: Secrets, place: str, ref: SecretKeyRef | None) -> bytes | None:
    return None if ref is None else _value(secrets, place, ref.key)


def _credentials(secrets: Secrets) -> S3Credentials:
    """Raises Transient SecretNotFound; Terminal SecretInvalid for a value that no header can hold."""
    values = {}
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        if key == "AWS_SESSION_TOKEN" and key not in secrets[CREDENTIALS]:
            continue
        # What was put into the Secret with `echo` ends in a line break.
        value = _value(secrets, CREDENTIALS, key).strip()
        if not value or not value.isascii() or not value.decode().isprintable():
            raise Terminal(Reason.SECRET_INVALID, f"{CREDENTIALS}: the key {key!r} is not printable ASCII text")
        values[key] = value.decode()
    return S3Credentials(
        values["AWS_ACCESS_KEY_ID"], values["AWS_SECRET_ACCESS_KEY"], values.get("AWS_SESSION_TOKEN") or None
    )


def _value(secrets: Secrets, place: str, key: str) -> bytes:
    try:
        return secrets[place][key]
    except KeyError as error:
        raise Transient(Reason.SECRET_NOT_FOUND, f"{place}: the Secret has no key {key!r}") from error
