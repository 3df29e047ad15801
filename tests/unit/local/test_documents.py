"""Each verdict here was seen in kubectl first (`kubectl annotate --local -f FILE -o json k=v`), except where the
name says stricter.
"""

import json
import random
from typing import Any

import pytest

from vectorops.local.documents import Unreadable, parse_documents


def value(text: str) -> Any:
    (only,) = parse_documents(text)
    return only.value


@pytest.mark.parametrize(
    ("yaml", "meant"),
    [
        ("yes", True),
        ("No", False),
        ("ON", True),
        ("off", False),
        ("y", True),
        ("n", False),
        ("'yes'", "yes"),
        ("!!str yes", "yes"),
        ("2020-01-01", "2020-01-01"),
        ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
        ("1:30", "1:30"),
        ("~", None),
        ("null", None),
        ('""', ""),
        ("1.0", 1),
        ("1e3", 1000),
        ("-0.0", 0),
        (".5", 0.5),
        ("5.", 5),
        ("+3", 3),
        ("1_000", 1000),
        ("0x10", 16),
        ("010", 8),
        ("0o10", 8),
        ("0b11", 3),
        ("1e21", 1e21),
        ("1e999", "1e999"),
        ("0.1", 0.1),
        ("1.2.3", "1.2.3"),
        ("-", None),
        ("v1", "v1"),
    ],
)
def test_a_plain_scalar_means_what_kubectl_takes_it_for(yaml, meant):
    found = value(f"a: {yaml}") if yaml != "-" else value("a:")

    assert found == {"a": meant}
    assert type(found["a"]) is type(meant)


def test_all_64_bits_of_an_id_survive():
    """kubectl makes floats of them; nothing here has to."""
    assert value("[18446744073709551615, 9223372036854775808]") == [2**64 - 1, 2**63]


def test_a_number_of_thousands_of_digits_is_a_float_and_no_error():
    assert value("[" + "1" * 300 + "]") == [float("1" * 300)]


def test_keys_become_strings():
    assert value("1: a\n1.5: b\ntrue: c") == {"1": "a", "1.5": "b", "true": "c"}


def test_a_merge_key_brings_in_what_the_mapping_lacks():
    assert value("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}")["d"] == {"b": 1, "c": 3}


def test_empty_documents_are_left_out_and_lines_are_counted_through_the_file():
    text = "# only a comment\n---\n---\na: 1\n...\n---\nb: 2\n"

    assert [(document.value, document.line) for document in parse_documents(text)] == [({"a": 1}, 4), ({"b": 2}, 7)]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1, 2", 2, "not YAML"),
        ("a: 1\n\tb: 2", 2, "tab character"),
        ("a: 1\nb: .nan", 2, "JSON"),
        ("a: [1,\n -.inf]", 2, "JSON"),
        ("a: 1\nb: 2\na: 3", 3, "'a' is given twice, first on line 1"),
        ("a: &x\n  b: *x", 2, "contains itself"),
        ("a: 1\n? [b]\n: c", 2, "key"),
        ("~: 1", 1, "key"),
        ("a: !secret b", 1, "tag '!secret'"),
        ("a: !!python/object:os.system {}", 1, "tag"),
        ("a: *nowhere", 1, "'nowhere' is unknown"),
        ("a: \x01", 1, "not YAML"),
        ('{"a": 1,\n "b": ]', 2, "not JSON"),
        ('{"a": 1}\n---\nb: [', 3, "not YAML"),
        ('{"a": 1}\n{"b": 2}\n---\nc: 3', 3, "not JSON"),
        ('---\n{"a": 1}\n{"b": 2}', 3, "expected <document start>"),
        ('{"a": {"b": 1, "b": 2}}', 1, "'b' is given twice"),
        ('{"a": 1}\n{"b": NaN}', 2, "NaN"),
        ('{"a": 1e999}', 1, "larger than any number"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text, line, words):
    """A tag and a key given twice are refused, stricter than kubectl."""
    with pytest.raises(Unreadable) as raised:
        list(parse_documents(text))

    assert raised.value.line == line
    assert words in raised.value.words


def test_aliases_that_multiply_are_refused_and_not_unfolded():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]

    with pytest.raises(Unreadable, match="aliases repeat too many values"):
        list(parse_documents("\n".join(lines)))


def test_nesting_without_end_is_told():
    for text in ("[" * 100_000, '{"a":' * 100_000):
        with pytest.raises(Unreadable):
            list(parse_documents(text))


def test_a_file_that_begins_with_a_brace_is_json_with_any_number_of_documents():
    text = '{"a": "\\ud83d\\ude00", "t": 1.0}\n\n{"b": 18446744073709551615}'

    assert [document.value for document in parse_documents(text)] == [{"a": "😀", "t": 1}, {"b": 2**64 - 1}]


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}\n---\nb: 2\n',
        '{"a": 1}---\nb: 2',
        '{"a": 1}\n--- # the next\n{"b": 2}',
        '{"a": 1}\n\n---\n# nothing\n---\n{b: 2}\n---\n',
        '{"a": 1, # flow\n}\n---\nb: 2\n',
        "{a: 1}\n---\nb: 2",
    ],
)
def test_a_stream_that_begins_like_json_goes_on_as_yaml(text):
    """kubectl before 1.33 reads none of these."""
    found = [document.value for document in parse_documents(text)]

    assert found == [{"a": 1}, {"b": 2}]


def test_lines_are_counted_through_a_stream_of_both():
    assert [document.line for document in parse_documents('\n{"a":\n 1}\n---\nb: 2')] == [2, 5]


def test_vectors_come_through_bit_by_bit():
    numbers = [random.uniform(-1, 1) for _ in range(2000)]

    assert value(f"v: {json.dumps(numbers)}") == {"v": numbers}
    assert value("v:\n" + "\n".join(f"- {number!r}" for number in numbers)) == {"v": numbers}
