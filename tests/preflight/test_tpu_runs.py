"""What a run's config gives the TPU compiler: model and features."""

import dataclasses
import math
import re

import numpy as np
import pytest

from bert_tf.core.config import PretrainDataConfig, TuningConfig
from bert_tf.core.errors import InputError
from bert_tf.core.records import RecordLayout
from bert_tf.preflight import compiling, step_inputs
from bert_tf.tasks.task import TASKS, task_named
from bert_tf.training.data.shard_folder import ShardFolder
from tests.support.tiny_step import TINY


def losses_of(inputs) -> dict[str, float]:
    """The step's losses for two examples of zeros, which say that all of it can be computed."""
    batch = {name: np.zeros((2, *shape), dtype) for name, (shape, dtype) in inputs.features.items()}
    sums, _ = inputs.objective.sums(inputs.model, batch, None, training=False)
    assert set(inputs.objective.denominators(batch)) == set(inputs.objective.losses) <= set(sums)
    return {name: float(sums[name][0]) for name in inputs.objective.losses}


@pytest.mark.parametrize("packed", [0, 4])
def test_the_features_of_a_run_are_those_of_its_shards(packed, shards):
    run = step_inputs.of_config(TINY, sequences_per_row=packed)
    names = {"input_word_ids", "input_mask", "input_type_ids", "masked_lm_positions", "masked_lm_ids"}
    names |= {"masked_lm_weights", "next_sentence_labels", "next_sentence_weights"}
    names |= {"position_ids", "sequence_ids", "next_sentence_positions"} if packed else set()
    assert set(run.features) == names
    assert run.features["next_sentence_labels"] == ((packed or 1,), np.dtype(np.int32))
    of_shards = dataclasses.replace(
        TINY,
        model=dataclasses.replace(TINY.model, vocab_size=None, max_position_embeddings=64),
        data=PretrainDataConfig(train=str(shards)),
    )
    made = step_inputs.of_config(of_shards)
    assert made.notes == [] and made.features["masked_lm_ids"] == ((10,), np.dtype(np.int32))
    assert made.model.config.vocab_size == 1000  # as the shards say
    with pytest.raises(InputError, match="data.max_seq_length=32: expected what the shards were made with"):
        step_inputs.of_config(dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, train=str(shards))))


def test_packed_rows_without_pairs_have_a_step_without_pairs(shards, monkeypatch):
    folder = ShardFolder.open(str(shards), "data.train")
    layout = RecordLayout(max_seq_length=32, max_predictions_per_seq=5, max_sequences_per_row=4, has_pairs=False)
    monkeypatch.setattr(ShardFolder, "open", lambda path, field: dataclasses.replace(folder, layout=layout))
    made = step_inputs.of_config(
        dataclasses.replace(
            TINY,
            model=dataclasses.replace(TINY.model, vocab_size=None),
            data=dataclasses.replace(TINY.data, train=str(shards)),
        )
    )
    assert {"position_ids", "sequence_ids"} <= set(made.features)
    assert not {"next_sentence_labels", "next_sentence_weights"} & set(made.features)
    assert set(losses_of(made)) == {"masked_lm_loss"}


@pytest.mark.parametrize("task", [name for name in TASKS if task_named(name).is_trained])
def test_every_fine_tuning_has_a_step_to_compile(task, classifier):
    config_class = task_named(task).config_class
    data = dataclasses.replace(config_class().data, max_seq_length=32)
    if task in ("regression", "embedding", "multiple_choice"):
        data = dataclasses.replace(data, second_text_field="second_text")
    made = step_inputs.of_config(config_class(data=data, init_from=classifier))
    length = made.features["input_word_ids"][0][-1]
    assert length == 32
    assert made.features["input_word_ids"][0][:-1] == {"embedding": (2,), "multiple_choice": (2,)}.get(task, ())
    if task == "embedding":  # a group of pairs at least is a batch
        made.objective.group = 2
    assert all(math.isfinite(loss) for loss in losses_of(made).values())
    assert made.notes == (["labels: 2 (no data.labels)"] if task_named(task).has_labels else [])


def test_windows_are_as_many_as_an_example_may_have(classifier):
    """The step that pools them is the one that is compiled."""
    config_class = task_named("classification").config_class
    data = dataclasses.replace(config_class().data, max_seq_length=16, long_texts="windows", max_windows=3)
    made = step_inputs.of_config(config_class(data=data, init_from=classifier, tuning=TuningConfig(focal_gamma=2.0)))
    assert made.features["input_word_ids"][0] == (3, 16) and made.features["label_ids"][0] == ()
    assert made.objective.focal_gamma == 2.0
    assert all(math.isfinite(loss) for loss in losses_of(made).values())


def test_weights_of_positives_and_focus_are_in_the_program_that_is_compiled(classifier):
    import jax

    config_class = task_named("multi_label").config_class
    data = dataclasses.replace(config_class().data, max_seq_length=8, labels=("x", "y"))

    def program(**tuning) -> str:
        made = step_inputs.of_config(config_class(data=data, init_from=classifier, tuning=TuningConfig(**tuning)))
        return compiling.lowered_step(made, jax.devices()[:1], 2).as_text()

    plain, weighted = program(), program(positive_weights=("y=1234.5",))
    # The weight, or what the loss has of it, the weight less 1.
    assert re.search(r"1\.23[34]500e\+03", weighted) and not re.search(r"1\.23[34]500e\+03", plain)
    assert plain != program(focal_gamma=2.0)


def test_smoothed_labels_are_a_feature_of_the_step(classifier):
    config_class = task_named("classification").config_class
    smoothed = config_class(init_from=classifier, tuning=TuningConfig(label_smoothing=0.1))
    assert step_inputs.of_config(smoothed).features["label_smoothing"] == ((), np.dtype(np.float32))
    assert "label_smoothing" not in step_inputs.of_config(config_class(init_from=classifier)).features
