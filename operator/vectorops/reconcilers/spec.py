"""Turns the raw spec of a resource into its model. Called first by every reconciler.

The API server has checked new objects already; an object from before a rule was tightened may still fail here.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from vectorops.api.meta import Model, Resource
from vectorops.api.reasons import Reason
from vectorops.api.validation import explain
from vectorops.errors import Terminal

Spec = TypeVar("Spec", bound=Model)


def parse(model: type[Spec], resource: Resource) -> Spec:
    """The spec as a model. Raises Terminal InvalidSpec that names the first wrong field."""
    try:
        return model.model_validate(resource.spec, by_name=False)
    except ValidationError as error:
        raise Terminal(Reason.INVALID_SPEC, explain(error)[0]) from None
