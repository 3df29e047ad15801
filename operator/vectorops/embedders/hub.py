"""The model hub and its cache on disk: the boundary to huggingface_hub, and the messages for its exceptions.

Everything here blocks, and is called in a thread. No request carries a token: a namespaced resource names the model,
and its author must not read with the rights of the operator.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx

from vectorops.api.reasons import Reason
from vectorops.errors import RateLimited, Terminal, Transient, VectorOpsError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

DEFAULT_BRANCH: Final = "main"
ANSWER_SECONDS: Final = 10.0
"""Longest wait for a piece of an answer. `EmbedderSettings.timeout_seconds` limits the complete answer."""

COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class CachedModel:
    """One commit of a model in the cache, perhaps with a part of its files only."""

    commit: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Hub:
    """The hub of `HF_ENDPOINT`, and the cache of `HF_HOME`, as huggingface_hub reads them."""

    answer_seconds: float
    """Longest wait for a piece of an answer."""

    @property
    def _endpoint(self) -> str:
        from huggingface_hub import constants

        # Read each time: the library reads the variables once, when it is imported.
        return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")

    @property
    def cache(self) -> Path:
        """The folder that holds `models--owner--name`."""
        from huggingface_hub import constants

        if stated := os.environ.get("HF_HUB_CACHE"):
            return Path(stated).expanduser()
        if home := os.environ.get("HF_HOME"):
            return Path(home).expanduser() / "hub"
        return Path(constants.HF_HUB_CACHE)

    @property
    def host(self) -> str:
        """For people. The endpoint may hold credentials, so it is not shown."""
        return urlsplit(self._endpoint).hostname or "the model hub"

    def cached(self, model: str, revision: str | None) -> CachedModel | None:
        """A commit from the cache. revision: a commit, or a branch or tag as last read; None: the default branch."""
        root = self.cache / f"models--{model.replace('/', '--')}"
        commit = revision or DEFAULT_BRANCH
        if not COMMIT.fullmatch(commit):
            try:
                commit = (root / "refs" / commit).read_text().strip()
            except OSError:
                return None
        folder = root / "snapshots" / commit
        return CachedModel(commit, folder) if COMMIT.fullmatch(commit) and folder.is_dir() else None

    def look_up(self, model: str, revision: str | None) -> tuple[str, frozenset[str]]:
        """The current commit of a revision, and the paths of all its files. None: the default branch."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError

        with self._translated_errors(model, revision):
            api = HfApi(endpoint=self._endpoint, token=False)
            try:
                info = api.model_info(model, revision=revision, timeout=self.answer_seconds, token=False)
                commit, names = info.sha, frozenset(file.rfilename for file in info.siblings or ())
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                if isinstance(error, OSError | httpx.HTTPError | HFValidationError):
                    raise
                raise Transient(
                    Reason.EMBEDDER_UNREACHABLE,
                    f"{self.host} does not answer like a model hub; check HF_ENDPOINT and the proxy",
                ) from error
        if commit is None:
            raise Transient(Reason.EMBEDDER_UNREACHABLE, f"{self.host} names no commit of the model {model}")
        return commit, names

    def file(self, model: str, commit: str, name: str) -> Path:
        """A whole file, downloaded into the cache if it is not there."""
        from huggingface_hub import hf_hub_download

        _disable_progress_bars()
        with self._translated_errors(model, commit, name):
            found = hf_hub_download(
                model,
                name,
                revision=commit,
                cache_dir=self.cache,
                endpoint=self._endpoint,
                etag_timeout=self.answer_seconds,
                token=False,
            )
        return Path(found)

    def head(self, model: str, commit: str, name: str, size: int) -> bytes:
        """The first bytes of a file, without the rest.

        `HfApi.parse_safetensors_file_metadata` reads the whole file into memory from a server that ignores ranges, as
        plain mirrors do (1.33).
        """
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # Documented, and in no __all__.
            build_hf_headers,
            get_session,
            hf_raise_for_status,
        )

        there = self.cached(model, commit)
        if there is not None and (there.folder / name).is_file():
            return read_head(there.folder / name, size)
        url = hf_hub_url(model, name, revision=commit, endpoint=self._endpoint)
        headers = build_hf_headers(token=False) | {"Range": f"bytes=0-{size - 1}", "Accept-Encoding": "identity"}
        head = b""
        with (
            self._translated_errors(model, commit, name),
            get_session().stream(
                "GET", url, headers=headers, timeout=self.answer_seconds, follow_redirects=True
            ) as answer,
        ):
            hf_raise_for_status(answer)
            # A server that ignores ranges sends the whole file.
            for piece in answer.iter_bytes():
                head += piece
                if len(head) >= size:
                    break
        return head[:size]

    def download(self, model: str, commit: str, patterns: Sequence[str], *, offline: bool) -> Path:
        """The folder with all files of a commit that match one of the patterns; offline: from the cache alone."""
        from huggingface_hub import snapshot_download

        _disable_progress_bars()
        with self._translated_errors(model, commit):
            folder = snapshot_download(
                model,
                revision=commit,
                cache_dir=self.cache,
                endpoint=self._endpoint,
                etag_timeout=self.answer_seconds,
                allow_patterns=list(patterns),
                local_files_only=offline,
                token=False,
            )
        return Path(folder)

    @contextmanager
    def _translated_errors(self, model: str, revision: str | None, name: str | None = None) -> Iterator[None]:
        try:
            yield
        except VectorOpsError:
            raise
        except (OSError, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise self._translate(error, model, revision, name) from error

    def _translate(self, error: Exception, model: str, revision: str | None, name: str | None) -> VectorOpsError:  # noqa: PLR0911
        from huggingface_hub import errors

        match error:
            case errors.LocalEntryNotFoundError(__cause__=Exception() as cause):
                return self._translate(cause, model, revision, name)
            case errors.LocalEntryNotFoundError():
                return Terminal(
                    Reason.MODEL_NOT_FOUND,
                    f"files of the model {model} are missing in the hub's cache {self.cache}, and --offline forbids "
                    "downloads: complete the cache, or run without --offline",
                )
            case errors.HFValidationError():
                return Terminal(Reason.MODEL_NOT_FOUND, f"{model!r} is not a valid name of a model on the hub")
            case errors.HfHubHTTPError():
                return self._translate_status(error, model, revision, name)
            case httpx.TimeoutException():
                return self._unreachable("does not answer in time")
            case httpx.HTTPError() | httpx.InvalidURL() | ConnectionError() | TimeoutError():
                return self._unreachable("cannot be reached")
            case OSError(strerror=str() as words):
                return Transient(
                    Reason.EMBEDDER_FAILED,
                    f"the files of the model {model} cannot be written to the hub's cache {self.cache}: {words}; set "
                    "HF_HOME to a writable folder with enough space",
                )
        return self._unreachable("gives an answer that cannot be parsed")

    def _translate_status(
        self, error: HfHubHTTPError, model: str, revision: str | None, name: str | None
    ) -> VectorOpsError:
        """An answer with an HTTP status from 400 on."""
        from huggingface_hub import errors

        status = error.response.status_code
        # Gated before not found: the library's error for gated models is a subclass of the other.
        if isinstance(error, errors.GatedRepoError):
            return Terminal(
                Reason.MODEL_GATED,
                f"{self.host} serves the files of the model {model} only to users who accepted its terms: accept "
                "them there, download the model, and put it below --model-folder or into the hub's cache",
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return Terminal(Reason.MODEL_NOT_FOUND, f"the model {model} has no revision {revision!r} on {self.host}")
        if isinstance(error, errors.RemoteEntryNotFoundError):
            return Terminal(
                Reason.MODEL_NOT_FOUND, f"the model {model} has no file {name!r} at {revision} on {self.host}"
            )
        if isinstance(error, errors.RepositoryNotFoundError | errors.DisabledRepoError) or status == 404:
            return Terminal(
                Reason.MODEL_NOT_FOUND,
                f"{self.host} has no public model {model}: check the name, or put a private model below --model-folder "
                "or into the hub's cache",
            )
        if status == 429:
            after = error.response.headers.get("Retry-After", "")
            seconds = float(after) if after.isdecimal() else None
            words = f"the model hub {self.host} limits the rate of requests"
            return RateLimited(Reason.RATE_LIMITED, words, retry_after=seconds)
        return self._unreachable(f"answers with HTTP status {status}")

    def _unreachable(self, what: str) -> Transient:
        return Transient(
            Reason.EMBEDDER_UNREACHABLE,
            f"the model hub {self.host} {what}; retrying. Without access to a hub, put the model below --model-folder",
        )


def is_offline() -> bool:
    """Does HF_HUB_OFFLINE forbid the library to send requests?"""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def read_head(path: Path, size: int) -> bytes:
    """The first bytes of a file on disk."""
    with path.open("rb") as file:
        return file.read(size)


def _disable_progress_bars() -> None:
    """The library draws them on stderr, where the log is."""
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # As above.

    disable_progress_bars()
