import dataclasses

import keras
import numpy as np
import pytest

from bert_tf.models.bert.config import BertConfig
from bert_tf.models.model import make_model
from bert_tf.serving.export.fusion import fuse_for_serving

CONFIG = BertConfig(
    vocab_size=50, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40, hidden_act="gelu"
)
TANH = dataclasses.replace(CONFIG, hidden_act="gelu_new")
MODELS = {
    "classification": lambda: make_model(CONFIG, {"sequence": {"units": 3}}),
    "classification with adapters": lambda: make_model(CONFIG, {"sequence": {"units": 3}}, adapter_size=5),
    "multiple choice": lambda: make_model(CONFIG, {"choices": {}}),
    "next sentence": lambda: make_model(CONFIG, {"pair": {}}),
    "embedding of [CLS]": lambda: make_model(CONFIG, {"embedding": {"pooling": "cls"}}),
    "embedding of all tokens": lambda: make_model(CONFIG, {"embedding": {"pooling": "mean"}}),
    "GELU by tanh": lambda: make_model(TANH, {"embedding": {}}),
    "a label for every token": lambda: make_model(CONFIG, {"tokens": {"units": 3}}),
}


def _batch(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    lengths = random.integers(1, shape[-1] + 1, shape[:-1])
    return {
        "input_word_ids": random.integers(1, CONFIG.vocab_size, shape, dtype=np.int32),
        "input_mask": (np.arange(shape[-1]) < lengths[..., None]).astype(np.int32),
        "input_type_ids": random.integers(0, 2, shape, dtype=np.int32),
    }


@pytest.mark.parametrize("name", MODELS)
def test_fusing_changes_no_answer(name):
    keras.utils.set_random_seed(1)
    model = MODELS[name]()
    # Large and different weights, biases too: the initial ones are near nothing.
    for number, variable in enumerate(model.variables):
        random = np.random.default_rng(number)
        if "norm" not in variable.path and variable.dtype == "float32":
            variable.assign(random.normal(scale=0.3, size=variable.shape))
    batch = _batch((5, 2, 13) if name == "multiple choice" else (5, 13))
    expected = {key: np.array(x) for key, x in model(batch, training=False).items()}
    fuse_for_serving(model)
    found = model(batch, training=False)
    for key, values in expected.items():
        # Sums in another order: 1e-5 of numbers of the size of 10.
        np.testing.assert_allclose(found[key], values, rtol=0, atol=1e-5 * max(1.0, np.abs(values).max()), err_msg=key)
        assert np.ptp(values) > 0.01, "answers that are all the same would show nothing"


def test_the_last_block_answers_for_the_first_token_where_no_other_is_read():
    lengths = {}
    for name in ("classification", "a label for every token"):
        model = MODELS[name]()
        fuse_for_serving(model)
        lengths[name] = [x.shape[1] for x in model.encoder(_batch((2, 9)), training=False)["hidden_states"]]
    assert lengths == {"classification": [9, 9, 9, 1], "a label for every token": [9, 9, 9, 9]}
