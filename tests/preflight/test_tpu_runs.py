"""What a run's config gives the TPU compiler: model and features."""

import dataclasses
import types

import numpy as np
import pytest
from bert_tf.core.config_finetune import FinetuneConfig, FinetuneDataConfig

from bert_tf.core import records
from bert_tf.core.config import PretrainDataConfig
from bert_tf.core.errors import InputError
from bert_tf.preflight import step_inputs as runs
from tests.support.tiny_step import TINY


@pytest.mark.parametrize("packed", [0, 4])
def test_the_features_of_a_run_are_those_of_its_shards(packed, shards):
    run = runs.of_config(TINY, sequences_per_row=packed)
    names = {"input_word_ids", "input_mask", "input_type_ids", "masked_lm_positions", "masked_lm_ids"}
    names |= {"masked_lm_weights", "next_sentence_labels", "next_sentence_weights"}
    names |= {"position_ids", "sequence_ids", "next_sentence_positions"} if packed else set()
    assert set(run.features) == names
    assert run.features["next_sentence_labels"] == ((packed or 1,), np.dtype(np.int32))
    of_shards = dataclasses.replace(
        TINY,
        model=dataclasses.replace(TINY.model, max_position_embeddings=64),
        data=PretrainDataConfig(train=str(shards), max_seq_length=64, max_predictions_per_seq=10),
    )
    assert runs.of_config(of_shards).notes == []
    with pytest.raises(InputError, match="data.max_seq_length=32: expected what the shards were made with"):
        runs.of_config(dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, train=str(shards))))


def test_packed_rows_without_pairs_have_a_loss(tmp_path, monkeypatch):
    """One label a row, of no weight, as the input pipeline makes it."""
    layout = records.RecordLayout(
        max_seq_length=32, max_predictions_per_seq=5, max_sequences_per_row=4, has_pairs=False
    )
    (tmp_path / "dataset.json").write_text("{}")
    monkeypatch.setattr(runs.ShardFolder, "open", lambda path, field: types.SimpleNamespace(layout=layout))
    run = runs.of_config(dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, train=str(tmp_path))))
    assert run.features["next_sentence_labels"] == ((1,), np.dtype(np.int32))
    batch = {name: np.zeros((2, *shape), dtype) for name, (shape, dtype) in run.features.items()}
    assert run.model.loss_sums(run.model(batch), batch)


@pytest.mark.parametrize(
    "task",
    ["classification", "multi_label", "regression", "token_classification", "question_answering", "multiple_choice"]
    + ["embedding"],
)
def test_every_fine_tuning_has_a_step_to_compile(task, classifier):
    data = FinetuneDataConfig(max_seq_length=32, max_query_length=8, second_text_field="second_text")
    run = runs.of_config(FinetuneConfig(task=task, data=data, init_from=classifier))
    batch = {name: np.zeros((2, *shape), dtype) for name, (shape, dtype) in run.features.items()}
    outputs = run.model(batch)
    assert set(run.model.loss_sums(outputs, batch) if task != "embedding" else run.model.loss_weights(batch))
