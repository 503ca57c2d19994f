"""Errors as text between processes."""

import pytest

from bert_tf.core.errors import InputError, StorageError, decode, encode


@pytest.mark.parametrize("kind", [InputError, StorageError])
def test_an_error_survives_any_text_around_it(kind):
    sentence = 'a "quoted" name:\nsecond line, ü \ud800 [while running \'A\'] {"kind": "StorageError"} InputError: x'
    text = f"Traceback:\n  raise\npackage.Error: {encode(kind(sentence))} [while running 'Step']\n"
    found = decode(text * 2)
    assert type(found) is kind
    assert str(found) == sentence


def test_other_text_holds_no_error():
    mark = encode(InputError("x")).partition("{")[0]
    for text in ("", "InputError: x", f"{mark}no JSON", f'{mark}{{"kind": "KeyError", "sentence": "x"}}', f"{mark}[1]"):
        assert decode(text) is None
    assert str(decode(f"{mark}cut off {encode(InputError('whole'))}")) == "whole"
