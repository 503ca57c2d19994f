"""Every task as a SavedModel: the answers of bert_tf.predict, without Python, whatever the text."""

import functools
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text
from tensorflow.core.protobuf import saved_model_pb2

from bert_tf.core.errors import InputError
from bert_tf.runs import prediction
from bert_tf.serving import loading
from bert_tf.serving.export import clean_run, saved_model, tflite, warm_up
from tests.support import served_models
from tests.support.serving.served_answers import as_served, check_same

TEXTS, ONE_BY_ONE = 200, 64
_WORD_BOUNDS = ("entity_first_words", "entity_last_words")
NATIVE = pathlib.Path(__file__).parents[1] / "support" / "native" / "ask_saved_model.c"


def batches(name: str, count: int, size: int) -> list[tuple[str, dict[str, np.ndarray]]]:
    asked = served_models.examples(name, TEXTS)[:count]
    parts = [asked[begin : begin + size] for begin in range(0, count, size)]
    return [
        ("serving_default", {k: as_bytes(v) for k, v in served_models.inputs(name, part).items()}) for part in parts
    ]


def as_bytes(values: list) -> np.ndarray:
    array = np.array(values, object)
    return np.vectorize(lambda text: text.encode(), otypes=[object])(array)


@pytest.fixture(scope="module")
def answered(exported, tmp_path_factory):
    """{task: (its answers to 200 real texts, to 64 of them in one batch, to these one by one)}, by a process
    without this project."""
    path, arguments = tmp_path_factory.mktemp("clean"), []
    for name in served_models.TASKS:
        requests = [*batches(name, TEXTS, 50), *batches(name, ONE_BY_ONE, ONE_BY_ONE), *batches(name, ONE_BY_ONE, 1)]
        (path / f"{name}.requests").write_bytes(pickle.dumps(requests))
        arguments += [exported / "served" / name / "1", path / f"{name}.requests", path / f"{name}.answers"]
    subprocess.run([sys.executable, "-I", clean_run.__file__, *map(str, arguments)], check=True, capture_output=True)
    found = {}
    for name in served_models.TASKS:
        answers = [row for outputs in pickle.loads((path / f"{name}.answers").read_bytes()) for row in rows_of(outputs)]
        found[name] = answers[:TEXTS], answers[TEXTS:-ONE_BY_ONE], answers[-ONE_BY_ONE:]
    return found


def rows_of(outputs: dict[str, np.ndarray]) -> list[dict]:
    """One dict an example, without what only fills up."""
    rows = [dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)]
    for row in rows:
        for name, value in row.items():
            if isinstance(value, np.ndarray) and value.dtype == object:
                row[name] = np.vectorize(lambda b: b.decode(), otypes=[object])(value).tolist()
            elif isinstance(value, np.ndarray) and value.dtype.kind == "i":
                row[name] = value.tolist()
            elif isinstance(value, bytes):
                row[name] = value.decode()
        for count, names in {
            "word_count": ("words", "begins", "ends", "tags", "probabilities"),
            "entity_count": ("entities", "entity_types", "entity_begins", "entity_ends", *_WORD_BOUNDS),
            "n_best_count": tuple(
                f"n_best_{kind}" for kind in ("answers", "starts", "ends", "scores", "probabilities")
            ),
            "mask_count": ("tokens", "scores"),
        }.items():
            if count in row:
                row |= {name: row[name][: row[count]] for name in names if name in row}
    return rows


@pytest.fixture(scope="module")
def load(exported):
    """task -> the signatures of its SavedModel."""
    return functools.cache(lambda name: tf.saved_model.load(str(exported / "served" / name / "1")).signatures)


@pytest.mark.parametrize("name", served_models.TASKS)
def test_a_clean_process_gives_the_answers_of_predict(exported, answered, name):
    asked = served_models.examples(name, TEXTS)
    expected = prediction.run(str(exported / "models" / name), asked)
    assert len(expected) == len(answered[name][0]) == TEXTS
    for number, (found, answer) in enumerate(zip(answered[name][0], expected, strict=True)):
        check_same(found, as_served(name, answer), number)


@pytest.mark.parametrize("name", served_models.TASKS)
def test_a_batch_of_mixed_lengths_gives_what_its_texts_give_alone(answered, name):
    _, together, alone = answered[name]
    assert len(together) == len(alone) == ONE_BY_ONE
    for number, (found, expected) in enumerate(zip(together, alone, strict=True)):
        check_same(found, expected, number)


ODD = [
    b"",
    b"\xff\xfe broken \xc3",
    b"\x00",
    b"a\x00b",
    b"word " * 200_000,
    "👩‍👩‍👧😀".encode(),
    b"tok " * 512,
    b"x" * 1_000_000,
]


@pytest.mark.parametrize("name", served_models.TASKS)
def test_no_text_breaks_it(load, name):
    """Empty, not UTF-8, NUL, emoji, a question of 512 tokens, a megabyte of words or of one: each has an answer."""
    serve = load(name)["serving_default"]
    specs = serve.structured_input_signature[1]
    for text in ODD:
        asked = {key: tf.constant([[text, b"b"]] if key == "choices" else [text]) for key in specs}
        for key, value in serve(**asked).items():
            assert value.shape[0] == 1, key
            if value.dtype == tf.float32:
                assert np.isfinite(value).all(), key
            elif value.dtype == tf.string and key != "choice":  # which is the choice as it came
                for part in value.numpy().flat:
                    part.decode()
    empty = {key: tf.zeros([0, 2] if key == "choices" else [0], tf.string) for key in specs}
    assert all(value.shape[0] == 0 for value in serve(**empty).values())


def test_the_signatures_tell_what_they_are(exported, load):
    for name in served_models.TASKS:
        path = exported / "served" / name / "1"
        told = json.loads((path / saved_model.DESCRIPTION).read_text())
        loaded = load(name)
        assert told["task"] == name and set(told["signatures"]) == set(loaded)
        for signature, described in told["signatures"].items():
            function = loaded[signature]
            assert set(described["inputs"]) == set(function.structured_input_signature[1])
            assert set(described["outputs"]) == set(function.structured_outputs)
            for key, spec in function.structured_outputs.items():
                assert described["outputs"][key]["shape"] == spec.shape.as_list(), (name, signature, key)
    assert told["made_with"]["tensorflow"] == tf.__version__


def test_named_signatures_are_there(load):
    """Contracts with clients."""
    names = {"embedding": "embed", "token_classification": "tag", "question_answering": "answer"}
    for task, name in {**names, "fill_mask": "fill_mask", "multiple_choice": "choose"}.items():
        assert name in load(task)


def test_given_words_are_answered_as_predict_answers_them(exported, load):
    """With words of several tokenizer words, of none, and more than a row holds; "" at the end fills up."""
    lists = [text.split()[:60] for text in served_models.texts(40)] + [["9/7/1992", "", "alice-bob", "\u200b"]]
    asked = [{"place": "x", "words": words} for words in lists]
    expected = prediction.run(str(exported / "models/token_classification"), asked)
    padded = tf.constant([[*words, *[""] * (60 - len(words))] for words in lists])
    serve = load("token_classification")["tag_words"]
    for number, (row, answer) in enumerate(zip(rows_of(numpy_of(serve(words=padded))), expected, strict=True)):
        entities = answer["entities"]
        told = {
            "tags": answer["tags"],
            "probabilities": answer["probabilities"],
            "word_count": len(answer["words"]),
            "entity_types": [entity["type"] for entity in entities],
            "entity_first_words": [entity["words"][0] for entity in entities],
            "entity_last_words": [entity["words"][1] - 1 for entity in entities],
            "entity_count": len(entities),
        }
        check_same(row, told, number)
    for shape in ([0, 0], [0, 3], [2, 0]):
        found = serve(words=tf.zeros(shape, tf.string))
        assert all(value.shape[0] == shape[0] for value in found.values())


def numpy_of(found) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in found.items()}


def test_classify_and_regress_read_examples(exported, load):
    texts = ["the cat", ""]
    for name, signature, method in [
        ("classification", "classify", "tensorflow/serving/classify"),
        ("regression", "regress", "tensorflow/serving/regress"),
    ]:
        path = str(exported / "served" / name / "1")
        loaded = load(name)
        asked = [{"text": text} | ({"second_text": "x"} if name == "regression" else {}) for text in texts]
        examples = [
            tf.train.Example(
                features=tf.train.Features(
                    feature={
                        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
                        for key, value in row.items()
                    }
                )
            ).SerializeToString()
            for row in asked
        ]
        found = loaded[signature](inputs=tf.constant(examples))
        columns = {key: tf.constant([row[key] for row in asked]) for key in asked[0]}
        expected = loaded["serving_default"](**columns)
        if name == "classification":
            assert set(found) == {"classes", "scores"}
            np.testing.assert_array_equal(found["classes"], expected["labels"])
            np.testing.assert_allclose(found["scores"], expected["probabilities"], atol=1e-6)
        else:
            np.testing.assert_allclose(found["outputs"][:, 0], expected["value"], atol=1e-6)
        assert definition(path, signature).method_name == method


def definition(path: str, signature: str):
    saved = saved_model_pb2.SavedModel.FromString(pathlib.Path(path, "saved_model.pb").read_bytes())
    return saved.meta_graphs[0].signature_def[signature]


def test_tokens_take_what_the_tokenizer_packs(exported, load):
    loaded = loading.load(str(exported / "models/classification"))
    serve = load("classification")
    rows = loaded.graph.tokenizer.pack(["the cat", "a"], max_seq_length=32)
    expected = serve["serving_default"](text=tf.constant(["the cat", "a"]))["probabilities"]
    np.testing.assert_allclose(tf.nn.softmax(serve["tokens"](**rows)["logits"]), expected, atol=1e-6)


def test_warm_up_requests_cover_every_signature(exported, load):
    for name in served_models.TASKS:
        path = str(exported / "served" / name / "1")
        found = warm_up.read(path)
        assert {signature for signature, _ in found} == set(load(name))
        assert len(found) <= 1000  # more TF Serving does not read


@pytest.mark.skipif(not shutil.which("gcc") and not os.environ.get("CI"), reason="needs gcc")
def test_a_c_program_gives_the_same_numbers(exported, load, tmp_path):
    """The nearest thing here to a model server: TensorFlow's C library, TF Text's ops, no Python."""
    site = pathlib.Path(tf.__file__).parent
    libraries = [site / "libtensorflow_cc.so.2", site / "libtensorflow_framework.so.2"]
    program = tmp_path / "ask"
    subprocess.run(
        ["gcc", "-Wall", "-Werror", f"-I{site / 'include'}", NATIVE, *libraries, f"-Wl,-rpath,{site}", "-o", program],
        check=True,
    )
    ops = sorted((pathlib.Path(tensorflow_text.__file__).parent / "python/ops").glob("_*.so"))
    path = str(exported / "served/classification/1")
    serving = definition(path, "serving_default")
    output, index = serving.outputs["probabilities"].name.split(":")
    serve = load("classification")["serving_default"]
    for text in ("Ein Café in München …", "the cat sat on the mat", "日本語"):
        done = subprocess.run(
            [program, path, serving.inputs["text"].name.split(":")[0], output, index, text, *ops],
            check=True,
            capture_output=True,
            text=True,
        )
        expected = serve(text=tf.constant([text]))["probabilities"][0]
        np.testing.assert_allclose([float(line) for line in done.stdout.split()], expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_a_narrow_type(exported, load, tmp_path, capsys, dtype):
    source = str(exported / "models/classification")
    path = saved_model.export(source, str(tmp_path / "out"), dtype=dtype)
    assert "largest difference from float32" in capsys.readouterr().out
    sizes = [
        (pathlib.Path(version) / "variables/variables.data-00000-of-00001").stat().st_size
        for version in (path, exported / "served/classification/1")
    ]
    assert sizes[0] < 0.6 * sizes[1]
    asked = tf.constant(["the cat sat on the mat"])
    narrow = tf.saved_model.load(path).signatures["serving_default"](text=asked)["probabilities"]
    np.testing.assert_allclose(
        narrow, load("classification")["serving_default"](text=asked)["probabilities"], atol=0.05
    )
    with pytest.raises(InputError, match="--tflite int8: expected --dtype float32"):
        saved_model.export(source, str(tmp_path / "out"), dtype="bfloat16", tflite_dtype="int8")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("int8", 0.1)])
def test_tflite(exported, load, tmp_path, dtype, tolerance):
    source = str(exported / "models/classification")
    loaded = loading.load(source)
    path = saved_model.export(source, str(tmp_path / "out"), tflite_dtype=dtype)
    interpreter = tf.lite.Interpreter(os.path.join(path, tflite.PATH))
    interpreter.allocate_tensors()
    rows = loaded.graph.tokenizer.pack(["the cat sat on the mat"], max_seq_length=32)
    for detail in interpreter.get_input_details():
        name = next(key for key in rows if key in detail["name"])
        interpreter.set_tensor(detail["index"], rows[name].numpy())
    interpreter.invoke()
    logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(logits, load("classification")["tokens"](**rows)["logits"], atol=tolerance)
