import dataclasses
import functools
import itertools
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.core import record_files, records
from bert_tf.core.config import PretrainConfig, PretrainDataConfig
from bert_tf.core.data_order import Order
from bert_tf.core.errors import InputError
from bert_tf.models.bert.config import preset
from bert_tf.objectives.masked_lm import MaskedLM
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import Vocabulary
from bert_tf.training.data import example_input, shard_folder, shard_input
from bert_tf.training.data.dynamic_masking import Masking
from bert_tf.training.data.shard_folder import ShardFolder
from bert_tf.training.worker import Worker
from pipelines.instances.pool import InstanceConfig
from pipelines.jobs.job import JobConfig
from pipelines.jobs.pretraining_data import create_pretraining_data
from tests.support.training import OneStep, sums_of


@pytest.fixture
def folder(shards) -> ShardFolder:
    return ShardFolder.open(str(shards), "data.train")


def batches(folder, start, count, size=100, seed=3):
    dataset = shard_input.training_batches([folder], start, global_batch_size=size, seed=seed)
    return [{k: v.numpy() for k, v in b.items()} for b in itertools.islice(iter(dataset), count)]


def test_batches_are_a_function_of_seed_and_step(folder):
    # 40 batches of 100 are more than an epoch, so shards and epochs are crossed.
    whole = batches(folder, 0, 40)
    assert sum(shard["examples"] for shard in folder.split("train")) < 40 * 100
    for start in (1, 7, 23, 39):
        for ours, theirs in zip(batches(folder, start, 40 - start), whole[start:], strict=True):
            for name in ours:
                np.testing.assert_array_equal(ours[name], theirs[name])
    assert (whole[0]["input_word_ids"] != batches(folder, 0, 1, seed=4)[0]["input_word_ids"]).any()


def test_every_epoch_holds_every_example_once_in_a_new_order(folder):
    total = sum(shard["examples"] for shard in folder.split("train"))
    rows = np.concatenate([b["input_word_ids"] for b in batches(folder, 0, 2 * total, size=1)])
    first, second = rows[:total], rows[total:]
    assert (first != second).any()
    np.testing.assert_array_equal(np.unique(first, axis=0), np.unique(second, axis=0))
    assert len(np.unique(first, axis=0)) == total


def test_validation_is_filled_up_with_rows_of_weight_zero(folder):
    count = sum(shard["examples"] for shard in folder.split("validation"))
    size = count - 3
    found = list(shard_input.validation_batches([folder], "data.train", global_batch_size=size, examples=None))
    assert len(found) == 2
    weights = np.concatenate([batch["next_sentence_weights"].numpy() for batch in found])[:, 0]
    assert weights.tolist() == [1.0] * count + [0.0] * (2 * size - count)
    assert not found[1]["masked_lm_weights"].numpy()[3:].any()
    limited = shard_input.validation_batches([folder], "data.train", global_batch_size=4, examples=6)
    assert sum(float(batch["next_sentence_weights"].numpy().sum()) for batch in limited) == 6


def config_of(max_seq_length=None, max_predictions_per_seq=None, **model) -> PretrainConfig:
    data = PretrainDataConfig(max_seq_length=max_seq_length, max_predictions_per_seq=max_predictions_per_seq)
    return PretrainConfig(model=preset("tiny", **model), data=data)


@pytest.mark.parametrize(
    ("layout", "vocab_size", "sentence"),
    [
        ((128, 10), 1000, "data.max_seq_length=128: expected what the shards were made with. .* has 64."),
        ((64, 20), 1000, "data.max_predictions_per_seq=20: expected what the shards were made with. .* has 10."),
        ((64, 10), 999, "model.vocab_size=999: expected what the shards were made with. .* has 1000."),
    ],
)
def test_mismatch_names_both_values(folder, layout, vocab_size, sentence):
    with pytest.raises(InputError, match=sentence):
        shard_folder.check(folder, "data.train", config_of(*layout, vocab_size=vocab_size))


def test_what_a_config_leaves_out_is_what_the_shards_say(folder):
    config = shard_folder.settled(config_of(), folder)
    assert (config.data.max_seq_length, config.data.max_predictions_per_seq) == (64, 10)
    assert config.model.vocab_size == 1000
    shard_folder.check(folder, "data.train", config)
    assert shard_folder.layout_of(config, folder.layout) == folder.layout
    # What is there stays, to be refused where it does not fit.
    assert shard_folder.settled(config_of(128, 20, vocab_size=999), folder) == config_of(128, 20, vocab_size=999)
    with pytest.raises(InputError, match="at most model.max_position_embeddings=32 tokens. Received shards of 64"):
        shard_folder.settled(config_of(max_position_embeddings=32), folder)


def test_masks_that_are_drawn_in_training_have_room_for_their_share_of_a_row(folder):
    unmasked = dataclasses.replace(folder, layout=dataclasses.replace(folder.layout, max_predictions_per_seq=0))
    config = shard_folder.settled(config_of(), unmasked)
    assert config.data.max_predictions_per_seq == 10  # 0.15 x 64 = 9.6
    assert [records.usual_predictions(0.15, length) for length in (8, 128, 512)] == [5, 20, 80]
    assert shard_folder.layout_of(config, unmasked.layout).max_predictions_per_seq == 10
    chosen = shard_folder.settled(config_of(max_predictions_per_seq=5), unmasked)
    shard_folder.check(unmasked, "data.train", chosen)
    assert shard_folder.layout_of(chosen, unmasked.layout).max_predictions_per_seq == 5


def test_folders_that_are_not_finished_shards_are_refused(shards, tmp_path):
    with pytest.raises(InputError, match="Received a folder without dataset.json"):
        ShardFolder.open(str(tmp_path), "data.train")
    copy = shutil.copytree(shards, tmp_path / "copy")
    tokens = Vocabulary.load(str(copy / "vocab.txt")).tokens
    (copy / "vocab.txt").write_bytes(Vocabulary((*tokens[:-1], "[other]")).serialize())
    with pytest.raises(InputError, match="expected the vocabulary that the shards were made with"):
        ShardFolder.open(str(copy), "data.train")
    (copy / "COMPLETED").unlink()
    with pytest.raises(InputError, match="Received a folder without COMPLETED"):
        ShardFolder.open(str(copy), "data.train")


def test_shards_without_validation_are_named(shards, tmp_path):
    copy = shutil.copytree(shards, tmp_path / "copy")
    manifest = json.loads((copy / "dataset.json").read_text())
    manifest["shards"] = [s for s in manifest["shards"] if "pretrain-train" in s["name"]]
    (copy / "dataset.json").write_text(json.dumps(manifest))
    folder = ShardFolder.open(str(copy), "data.validation")
    with pytest.raises(InputError, match="data.validation=.*expected validation examples. Received none."):
        shard_input.validation_batches([folder], "data.validation", global_batch_size=4, examples=None)


def test_examples_in_memory_are_a_function_of_seed_and_step():
    features = {"x": np.arange(7, dtype=np.int32), "y": np.arange(14, dtype=np.float32).reshape(7, 2)}

    def rows(start, count):
        dataset = example_input.training_batches(features, start, global_batch_size=3, seed=1)
        return [b["x"].numpy().tolist() for b in itertools.islice(iter(dataset), count)]

    whole = rows(0, 14)
    assert rows(5, 9) == whole[5:]
    flat = list(itertools.chain(*whole))
    epochs = [flat[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def made_with(corpus, corpus_vocab, output, **settings) -> ShardFolder:
    instances = InstanceConfig(max_seq_length=64, max_predictions_per_seq=10, **settings)
    create_pretraining_data(
        input_patterns=[str(corpus / "0.txt")],
        vocab=str(corpus_vocab),
        output_dir=str(output),
        config=JobConfig(instances=instances, num_shards=1, validation_fraction=0.1),
    )
    return ShardFolder.open(str(output), "data.train")


@pytest.mark.parametrize("pairs", ["next_sentence", "none"])
def test_packed_rows_train_the_same_model(corpus, corpus_vocab, small_config, tmp_path, pairs):
    folder = made_with(corpus, corpus_vocab, tmp_path / "packed", packing=True, pairs=pairs)
    sizes = {"vocab_size": 1000, "max_position_embeddings": 64}
    objective = MaskedLM(folder.layout)
    model = objective.make_model(dataclasses.replace(small_config, **sizes), "float32")
    batches = functools.partial(
        shard_input.validation_batches, [folder], "data.train", global_batch_size=8, examples=20
    )
    parts = ("masked_lm", "next_sentence") if pairs == "next_sentence" else ("masked_lm",)
    assert objective.losses == tuple(f"{part}_loss" for part in parts)
    # Blank rows fill the last batch up: the loss is that of the others.
    whole = {part: sum(float(batch[f"{part}_weights"].numpy().sum()) for batch in batches()) for part in parts}
    assert all(weight > 0 for weight in whole.values())
    found = [sums_of(model, objective, batch)[0] for batch in batches()]
    for part in parts:
        totals = np.sum([sums[f"{part}_loss"] for sums in found], axis=0)
        assert totals[1] == pytest.approx(whole[part])
        assert np.isfinite(totals).all()
    batch = next(iter(shard_input.training_batches([folder], 0, global_batch_size=8, seed=1)))
    assert set(objective.features()) == set(batch)
    for name, (shape, dtype) in objective.features().items():
        assert (tuple(batch[name].shape), batch[name].dtype) == ((8, *shape), dtype), name
    gradients, _ = OneStep(model, objective).gradients(batch)
    assert all(np.isfinite(gradient.numpy()).all() for gradient in gradients)
    assert float(tf.linalg.global_norm(gradients)) > 0
    rows = shard_input.training_batches([folder], 0, global_batch_size=200, seed=1)
    assert next(iter(rows))["sequence_ids"].numpy().max() > 1


def parts_of(folder, start, count, *, readers, workers, **settings):
    """What each worker gets, put together again."""
    streams = [
        itertools.islice(
            iter(
                shard_input.training_batches(
                    [folder], start, Worker(index, workers), global_batch_size=24, seed=3, readers=readers, **settings
                )
            ),
            count,
        )
        for index in range(workers)
    ]
    return [
        {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}
        for parts in zip(*streams, strict=True)
    ]


def test_batches_do_not_depend_on_the_number_of_workers(folder):
    for start in (0, 31):  # 60 batches of 24 cross shards, stretches and the end of an epoch
        whole = parts_of(folder, start, 60 - start, readers=4, workers=1)
        for workers in (2, 4):
            for ours, theirs in zip(
                parts_of(folder, start, 60 - start, readers=4, workers=workers), whole, strict=True
            ):
                for name in theirs:
                    np.testing.assert_array_equal(ours[name], theirs[name])
    later = parts_of(folder, 0, 60, readers=4, workers=1)[31:]
    np.testing.assert_array_equal(later[-1]["input_word_ids"], whole[-1]["input_word_ids"])


def test_readers_share_an_epoch_without_overlap(folder):
    total = sum(shard["examples"] for shard in folder.split("train"))
    stretch = total // 3
    order = Order(folder.path, folder.split("train"), seed=5, readers=3)
    seen = set()
    for reader in range(3):
        left = stretch
        for visit in order.visits(reader, 0):
            assert visit.epoch == 0
            rows = {(visit.shard, row) for row in range(visit.first, visit.first + visit.rows)}
            assert not rows & seen
            seen |= rows
            left -= visit.rows
            if not left:
                break
    assert len(seen) == 3 * stretch > total - 3


def test_a_restart_opens_one_shard(folder):
    mixture = shard_input.mixture_of([folder], global_batch_size=8, seed=5)
    (order,) = mixture.orders
    for batch in (0, 17, 100, 1000):
        visit = next(order.visits(0, 8 * batch))
        assert visit.first + visit.rows == order.shards[visit.shard]["examples"]
        assert mixture.paths_of(batch, 1, range(1))[0][0] == order.path(visit)


def test_readers_that_do_not_divide_are_refused(folder):
    with pytest.raises(InputError, match="data.readers=3: expected a multiple of the number of workers, 2"):
        shard_input.readers_of(Worker(0, 2), 3)
    with pytest.raises(InputError, match="train.global_batch_size=8: expected a multiple of data.readers=3"):
        shard_input.mixture_of([folder], global_batch_size=8, seed=1, readers=3)


def test_workers_share_the_validation_split(folder):
    def batches(worker):
        return list(shard_input.validation_batches([folder], "data.train", worker, global_batch_size=8, examples=None))

    for whole, *parts in zip(batches(Worker()), *(batches(Worker(i, 2)) for i in range(2)), strict=True):
        for name in whole:
            np.testing.assert_array_equal(whole[name], np.concatenate([part[name] for part in parts]))


def test_masks_are_drawn_in_training(corpus, corpus_vocab, tmp_path):
    folder = made_with(corpus, corpus_vocab, tmp_path / "unmasked", masking="none")
    masking = Masking(folder.vocabulary, 0.15, 10)
    shard_folder.check(folder, "data.train", config_of(64, 10, vocab_size=1000))
    whole = parts_of(folder, 0, 9, readers=2, workers=1, masking=masking)
    for ours, theirs in (
        (parts_of(folder, 5, 4, readers=2, workers=1, masking=masking), whole[5:]),
        (parts_of(folder, 0, 9, readers=2, workers=2, masking=masking), whole),
    ):
        for one, other in zip(ours, theirs, strict=True):
            for name in other:
                np.testing.assert_array_equal(one[name], other[name])
    validation = functools.partial(
        shard_input.validation_batches, [folder], "data.train", global_batch_size=8, examples=8, masking=masking
    )
    first, second = (next(iter(validation())) for _ in range(2))
    np.testing.assert_array_equal(first["masked_lm_positions"], second["masked_lm_positions"])
    assert float(tf.reduce_sum(first["masked_lm_weights"])) > 0


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda data: data[:3000] + bytes([data[3000] ^ 1]) + data[3001:], "is cut off or changed"),
        (lambda data: record_files.frame_record(b"\x0a\x00") + data, "record 0: no example of this layout"),
        (lambda data: b"", "0 records where dataset.json names"),
    ],
)
def test_damage_is_found(folder, tmp_path, damage, sentence):
    copy = shutil.copytree(folder.path, tmp_path / "copy")
    path = next(copy.glob("pretrain-train*00001-of*"))
    path.write_bytes(damage(path.read_bytes()))
    changed = dataclasses.replace(folder, path=str(copy))
    paths = [str(p) for p in sorted(copy.glob("pretrain-train*"))]
    assert shard_folder.find_damage(folder, [str(p) for p in sorted(shards_of(folder))]) is None
    found = shard_folder.find_damage(changed, paths)
    assert str(path) in found
    assert sentence in found


def shards_of(folder):
    return [f"{folder.path}/{shard['name']}" for shard in folder.split("train")]


@pytest.mark.parametrize(
    ("setting", "value", "received"),
    [
        ("lower_case", False, True),
        ("strip_accents", False, True),
        ("split_cjk", False, True),
        ("max_word_length", 9, 100),
    ],
)
def test_shards_of_another_normalization_are_refused(folder, setting, value, received):
    shard_folder.check_tokenizer(folder, "data.train", TokenizerConfig(strip_accents=True), "init_from=x")
    with pytest.raises(InputError, match=f"--{setting}={value}, as init_from=x has it. Received .* with {received}"):
        shard_folder.check_tokenizer(folder, "data.train", TokenizerConfig(**{setting: value}), "init_from=x")


def test_normalization_travels_with_the_shards(folder, shards, tmp_path):
    assert folder.settings == TokenizerConfig()
    copy = shutil.copytree(shards, tmp_path / "copy")
    manifest = json.loads((copy / "dataset.json").read_text())
    instances = manifest["parameters"]["instances"]
    instances |= {"strip_accents": False, "split_cjk": False, "max_word_length": 200}
    (copy / "dataset.json").write_text(json.dumps(manifest))
    expected = TokenizerConfig(strip_accents=False, split_cjk=False, max_word_length=200)
    assert ShardFolder.open(str(copy), "data.train").settings == expected
    for name in ("strip_accents", "split_cjk", "max_word_length"):  # version 0.1 had none of them
        del instances[name]
    (copy / "dataset.json").write_text(json.dumps(manifest))
    assert ShardFolder.open(str(copy), "data.train").settings == TokenizerConfig()


def test_shards_of_another_format_are_refused(shards, tmp_path):
    copy = shutil.copytree(shards, tmp_path / "copy")
    manifest = json.loads((copy / "dataset.json").read_text())
    del manifest["layout"]
    (copy / "dataset.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(InputError, match="expected shards of format 3 or later. Received format 2"):
        ShardFolder.open(str(copy), "data.train")
