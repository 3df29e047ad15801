"""How texts are put into requests, what servers say, and how much of it is shown."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorops.embedders.hosted import Refusal, batches, estimated_tokens, pause_asked, quotes, said_in

TEXTS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60), max_size=40)


@given(TEXTS, st.integers(1, 10), st.integers(1, 100))
def test_batches_hold_each_text_once_in_order_and_keep_the_limits(texts, most_texts, most_tokens):
    made = list(batches(texts, most_texts, most_tokens))

    assert [text for batch in made for text in batch] == texts
    for batch in made:
        assert 1 <= len(batch) <= most_texts
        assert len(batch) == 1 or sum(map(estimated_tokens, batch)) <= most_tokens


@given(TEXTS, st.integers(1, 10), st.integers(1, 100))
def test_a_batch_ends_only_where_the_next_text_has_no_room(texts, most_texts, most_tokens):
    made = list(batches(texts, most_texts, most_tokens))

    for batch, following in pairwise(made):
        together = [*batch, following[0]]
        assert len(together) > most_texts or sum(map(estimated_tokens, together)) > most_tokens


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "12"}, 12.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "Thu, 01 Jan 1970 00:01:40 GMT"}, 60.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-reset-requests": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-reset-tokens": "7"}, 7.0),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-reset-tokens": "50s",
                "x-ratelimit-remaining-requests": "9",
                "x-ratelimit-remaining-tokens": "0",
            },
            50.0,
        ),
        ({"Retry-After": "2", "x-ratelimit-reset-tokens": "50s"}, 2.0),
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "soon"}, None),
        ({"x-ratelimit-reset-tokens": "soon"}, None),
        ({"x-ratelimit-reset-tokens": "-3s"}, None),
    ],
)
def test_a_pause_is_read_as_servers_write_it(headers, seconds):
    assert pause_asked(headers, wall=40.0) == seconds


@pytest.mark.parametrize(
    ("answer", "said", "code"),
    [
        (b'{"error": {"message": "too long", "type": "invalid", "code": "length"}}', "too long", "length"),
        (b'{"error": {"message": "bad", "param": "input", "code": null, "type": "invalid"}}', "bad (input)", "invalid"),
        (b'{"error": "batch size 64 > 32", "error_type": "Validation"}', "batch size 64 > 32", ""),
        (b'{"object": "error", "message": "no base64", "type": "BadRequestError"}', "no base64", "BadRequestError"),
        (b'{"detail": "too many"}', "too many", ""),
        (b'{"detail": [{"msg": "bad"}]}', "[{'msg': 'bad'}]", ""),
        (b'{"error": {"message": "m", "code": "with words in it"}}', "m", ""),
        (b'["no"]', "['no']", ""),
        (b"", "", ""),
        (b"<html>", "<html>", ""),
    ],
)
def test_the_words_and_the_code_of_a_refusal_are_found(answer, said, code):
    assert said_in(400, answer) == Refusal(400, said, code)


@pytest.mark.parametrize(
    ("words", "secret"),
    [
        ("cannot read 'a long and private text'", "this is a long and private text of mine"),
        ("LONG AND PRIVATE", "a long   and\nprivate text"),
        ("cannot read 'hi you'", "hi you"),
        ("escaped \\u0061", "anything"),
    ],
)
def test_words_that_hold_a_part_of_a_text_are_known_for_it(words, secret):
    assert quotes(words, [secret])
    assert Refusal(400, words, "code").words(secret) == "HTTP 400: code"


@pytest.mark.parametrize("secret", ["this is a long and private text of mine", "hi you", ""])
def test_words_of_the_server_alone_are_shown(secret):
    assert Refusal(422, "maximum context\nlength is 512", "too_long").words(secret) == (
        "HTTP 422: too_long: maximum context length is 512"
    )


@given(
    st.text(st.characters(codec="utf-8"), min_size=12, max_size=60),
    st.integers(0, 48),
    st.text(max_size=300),
    st.text(max_size=300),
)
def test_no_twelve_characters_of_a_text_are_ever_shown(text, start, before, after):
    quoted = text[start : start + 12]
    if len(quoted) == 12 and len(" ".join(quoted.split())) == 12:
        assert quoted not in Refusal(400, before + quoted + after).words(text)


def test_words_are_not_shown_without_end():
    assert len(Refusal(400, "no " * 1000).words("a text of somebody")) < 300
