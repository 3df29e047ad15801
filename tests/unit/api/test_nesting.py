"""How deeply free JSON may be nested, and how deeper JSON is read. Nothing here is deep enough to end a parser."""

import typing
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, get_args, get_origin

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator

from vectorops.api import nesting
from vectorops.api.kinds import KINDS
from vectorops.api.meta import Model, Resource
from vectorops.api.nesting import LEVELS, bounded, cut_deep, is_deeper
from vectorops.api.pointset import PointSetSpec
from vectorops.api.validation import validate
from vectorops.errors import Terminal
from vectorops.reconcilers.spec import parse

WORDS = f"spec.points[0].payload: nested more than {LEVELS} levels deep"

json_values = st.recursive(
    st.none() | st.integers(-5, 5) | st.text(max_size=5) | st.sampled_from(['"', "\\", '\\"', "[", "}", '{"a":[']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


def nested(levels: int, *, in_lists: bool = False) -> Any:
    """Empty objects or lists within each other, and one object around."""
    value: Any = [] if in_lists else {}
    for _ in range(levels - 2):
        value = [value] if in_lists else {"a": value}
    return {"a": value}


def manifest(payload: Any) -> dict[str, Any]:
    return {
        "apiVersion": "vectorops.dev/v1alpha1",
        "kind": "PointSet",
        "metadata": {"name": "deep", "namespace": "team"},
        "spec": {"collectionRef": {"name": "zoo"}, "points": [{"id": 1, "payload": payload}]},
    }


def shallow(value: Any, levels: int) -> Any:
    """What `cut_deep` is to leave."""
    if not isinstance(value, dict | list):
        return value
    if not levels:
        return None
    if isinstance(value, dict):
        return {key: shallow(item, levels - 1) for key, item in value.items()}
    return [shallow(item, levels - 1) for item in value]


@pytest.mark.parametrize("in_lists", [False, True])
def test_the_command_line_and_the_operator_draw_the_line_at_the_same_place_in_the_same_words(in_lists: bool) -> None:
    fits, too_deep = manifest(nested(LEVELS, in_lists=in_lists)), manifest(nested(LEVELS + 1, in_lists=in_lists))

    assert validate(fits) == []
    assert validate(too_deep) == [WORDS]
    parse(PointSetSpec, Resource.from_object(fits))
    with pytest.raises(Terminal, match="nested") as told:
        parse(PointSetSpec, Resource.from_object(too_deep))
    assert told.value.message == WORDS


def test_an_id_may_be_any_json_and_is_held_to_the_same_limit() -> None:
    deep = manifest({})
    deep["spec"]["points"][0]["id"] = nested(LEVELS + 1)

    assert validate(deep) == [f"spec.points[0].id: nested more than {LEVELS} levels deep"]


@pytest.mark.parametrize("info", KINDS, ids=lambda info: info.kind)
def test_every_field_of_free_json_is_held_to_the_limit(info: Any) -> None:
    """A field without would be the next way to a fault of the operator's. See `meta.FreeJson`."""
    assert [path for path, is_bounded in free_fields(info.spec, "spec") if not is_bounded] == []


@given(json_values, st.integers(0, 4))
def test_what_lies_deeper_is_cut_out_of_a_text_and_the_rest_is_as_it_was(value: Any, levels: int) -> None:
    assert orjson.loads(cut_deep(orjson.dumps(value), levels)) == shallow(value, levels)
    assert is_deeper(value, levels) == (shallow(value, levels) != value)


@pytest.mark.parametrize("text", [b"", b"<html>[</html>", b'{"a', b"]]]", b"[[[["])
def test_what_is_no_json_stays_none(text: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(cut_deep(text, 2))


def test_what_is_read_of_a_resource_is_deep_enough_to_see_that_it_is_too_deep() -> None:
    read = orjson.loads(cut_deep(orjson.dumps(manifest(nested(200)))))

    assert not is_deeper(read, nesting.READ_LEVELS)
    assert validate(read) == [WORDS]


def free_fields(annotation: Any, path: str, *, is_bounded: bool = False) -> Iterator[tuple[str, bool]]:
    """Where a model lets any JSON through."""
    if annotation is Any:
        yield path, is_bounded
    elif get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        found = any(isinstance(each, AfterValidator) and each.func is bounded for each in metadata)
        yield from free_fields(inner, path, is_bounded=is_bounded or found)
    elif isinstance(annotation, type) and issubclass(annotation, Model):
        for name, field in typing.get_type_hints(annotation, include_extras=True).items():
            if get_origin(field) is not ClassVar and name != "model_config":
                yield from free_fields(field, f"{path}.{name}")
    else:
        for each in get_args(annotation):
            yield from free_fields(each, path, is_bounded=is_bounded)
