"""Errors as text between processes."""

import pytest
import tensorflow as tf

from bert_tf.core.errors import InputError, StorageError, decode, encode, reason_of


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


_TENSORFLOW = """Graph execution error:

Detected at node ParseExample/ParseExampleV2 defined at (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main

  File "/models/serve.py", line 88, in _run_code
    exec(code, run_globals)
Feature: text (data type: string) is required but could not be found.
\t [[{{node ParseExample/ParseExampleV2}}]] [Op:__inference_signature_wrapper_1234]"""
_ROOTS = """Graph execution error:

Detected at node x defined at (most recent call last):
<stack traces unavailable>
2 root error(s) found.
  (0) INVALID_ARGUMENT:  Key: text.  Can't parse serialized Example.
\t [[{{node x}}]]
\t [[y/_3]]
  (1) INVALID_ARGUMENT:  Key: text.  Can't parse serialized Example.
0 successful operations."""
_KERAS = """Exception encountered when calling Dense.call().

\x1b[1mMatrix size-incompatible: In[0]: [1,2], In[1]: [3,4]\x1b[0m

Arguments received by Dense.call():
  • inputs=tf.Tensor(shape=(1, 2), dtype=float32)"""
_AUTOGRAPH = """in user code:

    File "/models/run.py", line 12, in call
        x = y["a"]

    ValueError: no such thing
"""
_EAGER = "{{function_node __wrapped__GatherV2_device_/job:a/CPU:0}} indices[0] = 5 is not in [0, 2) [Op:GatherV2]"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError(_TENSORFLOW), "Feature: text (data type: string) is required but could not be found"),
        (ValueError(_ROOTS), "INVALID_ARGUMENT:  Key: text.  Can't parse serialized Example"),
        (ValueError(_KERAS), "Matrix size-incompatible: In[0]: [1,2], In[1]: [3,4]"),
        (ValueError(_AUTOGRAPH), "ValueError: no such thing"),
        (ValueError(_EAGER), "indices[0] = 5 is not in [0, 2)"),
        (ValueError("\n\n  one. \ntwo"), "one"),
        (ValueError(""), "ValueError"),
        (ValueError("Graph execution error:"), "ValueError"),
        (KeyError("text"), "KeyError: 'text'"),
        (FileNotFoundError(2, "No such file or directory", "x"), "No such file or directory"),
    ],
)
def test_the_line_that_says_what_is_wrong_is_found(error, reason):
    assert reason_of(error) == reason


def test_of_an_error_of_tensorflow_the_reason_is_found():
    @tf.function
    def parse(serialized):
        return tf.io.parse_example(serialized, {"text": tf.io.FixedLenFeature([], tf.string)})

    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        parse(tf.constant([tf.train.Example().SerializeToString()]))
    assert "Feature: text (data type: string) is required but could not be found" in reason_of(caught.value)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        parse(tf.constant(["no example"]))
    assert "no example" in reason_of(caught.value) or "parse" in reason_of(caught.value)
