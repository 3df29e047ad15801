"""The error tree: each class says what the caller does next.

Everything that can go wrong in a reconciliation is one of these. Exceptions of libraries are mapped at one boundary
each (`qdrant.errors` for Qdrant, `kube.calls` for Kubernetes).

    VectorOpsError
    ├── Transient          try again with backoff
    │   ├── OutcomeUnknown     the request may have been carried out: read before repeating it
    │   ├── RateLimited        try again, not before `retry_after`
    │   │   └── TooManyAtOnce      try again in smaller requests
    │   ├── GaveWay            the work stopped at a safe point: go on with it after the others, without backoff
    │   ├── OutOfSpace         the server takes no more data: delete some, or add space
    │   └── Unauthorized       the credentials may have been rotated: read them again, then back off
    ├── Waiting            a named dependency must change first; it wakes us
    └── Terminal           only a change of the resource (or of the database, by hand) helps
        └── Rejected           the database refused one request (HTTP 4xx)
            ├── NotFound           what the request is about is not there (HTTP 404)
            └── Conflict           what the request would make is there already (HTTP 409)
    InvalidManifest        a file given to the command line is wrong; nothing was applied
"""

from __future__ import annotations

from typing import Self

from vectorops.api.meta import Ref
from vectorops.api.reasons import Reason


class VectorOpsError(Exception):
    """What went wrong, for a condition. `reason` is part of the API; `message` is for people, without secrets and
    payloads.

    on: the resource whose change may help, so that its change triggers a reconciliation; None if it is none of ours.
    """

    retry_after: float | None = None
    """Seconds after which to try again; None: as the class says."""

    def __init__(self, reason: Reason, message: str, *, on: Ref | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.on = on

    def at(self, place: str) -> Self:
        """A copy of the error whose message begins with the place. Others may wait for the same object."""
        placed = type(self).__new__(type(self))
        placed.__dict__.update(self.__dict__)
        placed.message = f"{place}: {self.message}"
        placed.args = (placed.message,)
        return placed


class Transient(VectorOpsError):
    """Trying again later may help.

    retry_after: seconds that the server asked us to wait; None leaves it to the backoff.
    """

    def __init__(self, reason: Reason, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after


class OutcomeUnknown(Transient):
    """The request was sent, but no answer came: it may have been carried out."""


class RateLimited(Transient):
    """The server asked us to slow down (HTTP 429, gRPC RESOURCE_EXHAUSTED)."""


class TooManyAtOnce(RateLimited):
    """One request needs more than the server allows in a whole minute. Only its parts can succeed."""


class GaveWay(Transient):
    """Long work stopped at a safe point, and nothing is wrong: what was done is kept, and the next run goes on."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.PROGRESSING, message)


class OutOfSpace(Transient):
    """The server has no room for more data (its disk is full, or a quota is used up)."""


class Unauthorized(Transient):
    """The server refused the credentials (HTTP 401, 403)."""


class Waiting(VectorOpsError):
    """A dependency is not ready: `on`, or something that is no resource of ours, which is then checked each minute."""


class Terminal(VectorOpsError):
    """Trying again gives the same answer, until somebody changes something."""


class Rejected(Terminal):
    """The database refused a request."""

    def __init__(self, reason: Reason, message: str, *, status: int) -> None:
        super().__init__(reason, message)
        self.status = status
        """The HTTP status code, or the one that matches the gRPC code."""

    @staticmethod
    def of_status(reason: Reason, message: str, *, status: int) -> Rejected:
        """The error of the class that says what the status means."""
        return {404: NotFound, 409: Conflict}.get(status, Rejected)(reason, message, status=status)


class NotFound(Rejected):
    """What the request is about is not there."""


class Conflict(Rejected):
    """What the request would make is there already."""


class InvalidManifest(Exception):
    """A file given to the command line is not a valid manifest. problems: one line each, with file, place and fault."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
