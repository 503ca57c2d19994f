"""Multiple choice, embeddings, fill-mask, next sentence: reading, rows, answers and scores, with values by hand."""

import dataclasses

import keras
import numpy as np
import pytest

from bert_tf.core.errors import InputError
from bert_tf.serving.loading import Loaded
from bert_tf.tasks.embedding import Embedding, EmbeddingHeadConfig
from bert_tf.tasks.fill_mask import FillMask
from bert_tf.tasks.graph import TaskGraph, caller, outputs_of, task_model
from bert_tf.tasks.multiple_choice import ChoiceDataConfig, MultipleChoice
from bert_tf.tasks.next_sentence import NextSentence
from bert_tf.tasks.shared.sections import TextDataConfig
from bert_tf.text.wordpiece import Tokenizer

DATA = TextDataConfig(max_seq_length=8)


def write(path, text):
    path.write_text(text)
    return str(path)


def outputs_of_model(graph, model, rows):
    """What a model gives for rows, as prediction runs it."""
    return outputs_of(graph.task, caller(model), rows.arrays)


class TestMultipleChoice:
    data = ChoiceDataConfig(max_seq_length=8)

    def test_choices_are_filled_up_and_never_chosen(self, tmp_path, vocabulary, small_config):
        path = write(
            tmp_path / "a.jsonl",
            '{"text": "the cat", "choices": ["sat", "ran", "dog"], "label": 2}\n'
            '{"text": "the", "choices": ["cat", "on"], "label": "cat"}\n',
        )
        examples = MultipleChoice.read(self.data, path, "data.train", labelled=True)
        assert [example["label"] for example in examples] == [2, 0]
        task = MultipleChoice(data=self.data)
        graph = TaskGraph(task, Tokenizer(vocabulary))
        rows = graph.rows(examples, labelled=True)
        assert rows.arrays["input_word_ids"].shape == (2, 3, 8)
        assert rows.arrays["input_mask"].sum(axis=-1).tolist() == [[6, 6, 6], [5, 5, 0]]
        assert rows.arrays["label_ids"].tolist() == [2, 0]
        keras.utils.set_random_seed(0)
        model = task_model(task, dataclasses.replace(small_config, vocab_size=len(vocabulary)))
        outputs = outputs_of_model(graph, model, rows)
        assert outputs["logits"][1, 2] == -1e9
        answers = graph.answers(examples, rows, outputs)
        assert [len(answer["probabilities"]) for answer in answers] == [3, 2]
        assert sum(answers[1]["probabilities"]) == pytest.approx(1.0, abs=1e-5)
        assert task.scores(examples, [{"label": 2}, {"label": 1}])["accuracy"] == 0.5
        assert task.baseline([], examples) == {"chance_baseline": (1 / 3 + 1 / 2) / 2}

    def test_choices_of_later_chunks_may_be_more(self, vocabulary):
        """Rows are as wide as the example with most choices, wherever it stands."""
        graph = TaskGraph(MultipleChoice(data=self.data), Tokenizer(vocabulary))
        examples = [{"place": "x", "text": "the", "choices": ["cat", "dog"]} for _ in range(1500)]
        examples[-1]["choices"] = ["cat", "dog", "mat", "on"]
        rows = graph.rows(examples, labelled=False)
        assert len(rows.chunks) > 1 and rows.arrays["input_mask"].shape == (1500, 4, 8)
        assert (rows.arrays["input_mask"][:, :, 0].sum(axis=0) == [1500, 1500, 1, 1]).all()
        logits = np.zeros((1500, 4), np.float32)
        logits[:-1, 2:], logits[-1, 3] = -1e9, 1.0
        answers = graph.answers(examples, rows, {"logits": logits})
        assert answers[0]["probabilities"] == [0.5, 0.5]
        assert answers[-1]["label"] == 3 and len(answers[-1]["probabilities"]) == 4

    def test_an_empty_choice_is_none(self, vocabulary):
        graph = TaskGraph(MultipleChoice(data=self.data), Tokenizer(vocabulary))
        rows = graph.rows([{"place": "x", "text": "the", "choices": ["cat", "", "dog"]}], labelled=False)
        assert rows.arrays["input_mask"].sum(axis=-1).tolist() == [[5, 0, 5]]

    def test_a_stem_stands_before_every_choice(self, tmp_path, vocabulary):
        data = dataclasses.replace(self.data, second_text_field="stem")
        path = write(tmp_path / "a.jsonl", '{"text": "the", "stem": "cat", "choices": ["sat", "ran"], "label": 0}\n')
        tokenizer = Tokenizer(vocabulary)
        examples = MultipleChoice.read(data, path, "data.train", labelled=True)
        rows = TaskGraph(MultipleChoice(data=data), tokenizer).rows(examples, labelled=True)
        texts = tokenizer.detokenize(rows.arrays["input_word_ids"][0].tolist()).numpy().tolist()
        assert texts == [b"the cat sat", b"the cat ran"]

    @pytest.mark.parametrize(
        ("row", "sentence"),
        [
            ('{"text": "a", "choices": ["b"], "label": 0}', "choices: expected at least two. Received 1."),
            ('{"text": "a", "choices": "b", "label": 0}', "choices: expected a list of texts. Received: str."),
            ('{"text": "a", "choices": ["b", "c"], "label": 2}', "label: expected 0 to 1 or a choice. Received: '2'."),
            ('{"text": "a", "choices": ["b", "c"]}', "expected a column 'label'"),
            (
                '{"text": "a", "choices": ["1", "0"], "label": 0}',
                "label: expected a number or a choice. Received '0', which is",
            ),
        ],
    )
    def test_bad_rows(self, tmp_path, row, sentence):
        with pytest.raises(InputError) as error:
            MultipleChoice.read(self.data, write(tmp_path / "a.jsonl", row + "\n"), "data.train", labelled=True)
        assert f"{tmp_path}/a.jsonl:1: {sentence}" in str(error.value)


def loss_of(objective, pairs, batch) -> tuple[float, float]:
    """Sum and weight of the loss, where a model gives these embeddings."""
    sums, _ = objective.sums(lambda inputs, training: {"embedding": pairs}, batch, None, training=False)
    assert float(objective.denominators(batch)["embedding_loss"]) == float(sums["embedding_loss"][1])
    return tuple(float(x) for x in sums["embedding_loss"])


class TestEmbedding:
    data = dataclasses.replace(DATA, second_text_field="second")

    def test_mean_leaves_out_padding_and_has_length_one(self, small_config):
        keras.utils.set_random_seed(0)
        mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], np.int32)
        batch = {"input_word_ids": np.array([[2, 7, 3, 9], [2, 3, 9, 9]], np.int32), "input_mask": mask}
        batch["input_type_ids"] = np.zeros_like(mask)
        for pooling, normalize in (("mean", False), ("mean", True), ("cls", False)):
            settings = EmbeddingHeadConfig(pooling=pooling, normalize=normalize)
            model = task_model(Embedding(data=DATA, settings=settings), small_config)
            sequence = np.asarray(model.encoder(batch)["sequence_output"])
            expected = sequence[:, 0]
            if pooling == "mean":
                expected = np.stack([sequence[0, :3].mean(axis=0), sequence[1, :2].mean(axis=0)])
            if normalize:
                expected /= np.linalg.norm(expected, axis=1, keepdims=True)
            np.testing.assert_allclose(model(batch)["embedding"], expected, rtol=1e-5, atol=1e-6)

    def test_contrastive_loss_by_definition(self):
        settings = EmbeddingHeadConfig(contrastive_group=2, similarity_scale=20.0)
        objective = Embedding(data=self.data, settings=settings).objective()
        rng = np.random.default_rng(0)
        pairs = rng.normal(size=(4, 2, 8)).astype(np.float32)
        weights = np.array([1, 1, 1, 0], np.float32)  # the last row fills up a batch
        found, total = loss_of(objective, pairs, {"label_weights": weights})
        unit = pairs / np.linalg.norm(pairs, axis=-1, keepdims=True)
        expected = 0.0
        for row, others in ((0, (0, 1)), (1, (0, 1)), (2, (2,))):
            scores = np.exp([20.0 * unit[row, 0] @ unit[other, 1] for other in others])
            expected -= np.log(scores[list(others).index(row)] / scores.sum())
        assert (found, total) == (pytest.approx(expected, rel=1e-5), 3.0)

    def test_cosine_loss_by_definition(self):
        objective = Embedding(data=self.data, settings=EmbeddingHeadConfig(loss="cosine")).objective()
        pairs = np.zeros((2, 2, 8), np.float32)
        pairs[0, 0, 0] = pairs[0, 1, 0] = 3.0  # cosine 1
        pairs[1, 0, 0] = pairs[1, 1, 1] = 2.0  # cosine 0
        batch = {"label_weights": np.ones(2, np.float32), "label_values": np.array([0.5, 0.25], np.float32)}
        assert loss_of(objective, pairs, batch) == (pytest.approx(0.25 + 0.0625), 2.0)

    def test_recall_by_hand(self):
        vectors = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]
        seconds = [vectors[0], vectors[2], vectors[1]]
        answers = [{"embedding": v, "second_embedding": w} for v, w in zip(vectors, seconds, strict=True)]
        examples = [{"second_text": text} for text in "abc"]
        scores = Embedding(data=self.data).scores(examples, answers)
        # The first finds its own first; to the second "c" is nearer, to the third "b" is.
        assert scores["recall_at_1"] == pytest.approx(1 / 3)
        assert scores["mean_reciprocal_rank"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
        assert scores["recall_at_5"] == 1.0
        # Where all vectors are the same, nothing is found.
        same = [{"embedding": [1.0, 0.0], "second_embedding": [1.0, 0.0]}] * 3
        assert Embedding(data=self.data).scores(examples, same)["recall_at_1"] == 0.0
        # The same text twice is one candidate.
        assert Embedding(data=self.data).scores([{"second_text": "a"}] * 3, answers[:1] * 3)["recall_at_1"] == 1.0

    def test_pairs_are_read_and_wrong_use_is_told(self, tmp_path, vocabulary):
        path = write(tmp_path / "a.tsv", "text\tsecond\nthe cat\tdog\n")
        examples = Embedding.read(self.data, path, "data.train", labelled=True)
        graph = TaskGraph(Embedding(data=self.data), Tokenizer(vocabulary))
        rows = graph.rows(examples, labelled=True)
        assert rows.arrays["input_word_ids"].shape == (1, 2, 8)
        assert rows.arrays["input_mask"].sum(axis=-1).tolist() == [[4, 3]]
        vectors = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
        assert graph.answers(examples, rows, {"embedding": vectors}) == [
            {
                "text": "the cat",
                "embedding": [0.0, 1.0, 2.0],
                "second_text": "dog",
                "second_embedding": [3.0, 4.0, 5.0],
            }
        ]
        cosine = TaskGraph(
            Embedding(data=self.data, settings=EmbeddingHeadConfig(loss="cosine")), Tokenizer(vocabulary)
        )
        scored = cosine.rows([{**examples[0], "label": "-0.5"}], labelled=True)
        assert scored.arrays["label_values"].tolist() == [-0.5]
        with pytest.raises(InputError, match="a.tsv:2: expected a column 'label' with what the cosine should be"):
            cosine.rows(examples, labelled=True)
        with pytest.raises(InputError, match="x: label: expected a cosine, -1 to 1. Received: 5.0."):
            cosine.rows([{**examples[0], "place": "x", "label": "5"}], labelled=True)
        with pytest.raises(InputError, match="data.second_text_field: expected the column of the texts that belong"):
            Embedding.read(DATA, path, "data.train", labelled=True)

    def test_single_texts_and_pairs_may_be_mixed_with_one_model(self, vocabulary, small_config):
        """Whoever embeds both gets a vector for each text, in order, the same as alone."""
        task = Embedding(data=DATA)
        model = task_model(task, dataclasses.replace(small_config, vocab_size=len(vocabulary)))
        loaded = Loaded(TaskGraph(task, Tokenizer(vocabulary)), model, caller(model))
        texts = ("the cat", "dog", "mat on", "sat")
        alone = [answer["embedding"] for answer in loaded.answers([{"text": text} for text in texts])]
        mixed = [
            {"text": "the cat"},
            {"text": "dog", "second_text": "mat on"},
            {"text": "sat"},
            {"text": "sat", "second_text": "dog"},
        ]
        found = loaded.answers(mixed)
        assert [list(answer)[-1] for answer in found] == ["embedding", "second_embedding"] * 2
        vectors = [answer["embedding"] for answer in found]
        seconds = [answer["second_embedding"] for answer in found if "second_text" in answer]
        np.testing.assert_allclose(vectors, [alone[k] for k in (0, 1, 3, 3)], atol=1e-6)
        np.testing.assert_allclose(seconds, [alone[k] for k in (2, 1)], atol=1e-6)


class TestFillMask:
    def test_every_mask_has_its_likeliest_tokens(self, vocabulary, small_config):
        keras.utils.set_random_seed(0)
        task, tokenizer = FillMask(data=DATA), Tokenizer(vocabulary, keep_special_tokens=True)
        examples = [{"place": "x", "text": text} for text in ("the [MASK] sat [MASK]", "[MASK]")]
        graph = TaskGraph(task, tokenizer)
        rows = graph.rows(examples, labelled=False)
        assert rows.arrays["masked_lm_positions"].tolist() == [[2, 4], [1, 0]]
        # More rows in the table than tokens in the vocabulary are never answered.
        model = task_model(task, dataclasses.replace(small_config, vocab_size=len(vocabulary) + 3))
        answers = graph.answers(examples, rows, outputs_of_model(graph, model, rows))
        assert [len(answer["masks"]) for answer in answers] == [2, 1]
        logits = np.asarray(model({k: x[:1] for k, x in rows.arrays.items()})["masked_lm_logits"])[0, 1]
        logits = logits[: len(vocabulary)]
        best = answers[0]["masks"][1][0]
        assert best["token"] == vocabulary.tokens[logits.argmax()]
        assert best["probability"] == pytest.approx(np.exp(logits.max()) / np.exp(logits).sum(), abs=1e-5)
        order = np.argsort(-logits, kind="stable")[:5]
        assert [c["token"] for c in answers[0]["masks"][1]] == [vocabulary.tokens[index] for index in order]

    def test_a_text_without_mask_has_no_answer_and_no_score(self, vocabulary, small_config):
        tokenizer = Tokenizer(vocabulary, keep_special_tokens=True)
        task = FillMask(data=DATA)
        graph = TaskGraph(task, tokenizer)
        for text in ("the cat", "the " * 9 + "[MASK]"):
            with pytest.raises(InputError, match=r"x: expected \[MASK\] in the first 8 tokens. Received none."):
                graph.rows([{"place": "x", "text": text, "label": ["a"]}], labelled=True)
        model = task_model(task, dataclasses.replace(small_config, vocab_size=len(vocabulary)))
        for texts in (["the cat"], ["the cat", "the [MASK]"]):  # as what is served answers, and those beside it
            examples = [{"place": "x", "text": text} for text in texts]
            rows = graph.rows(examples, labelled=False)
            answers = graph.answers(examples, rows, outputs_of_model(graph, model, rows))
            assert [len(answer["masks"]) for answer in answers] == [0, 1][: len(texts)]

    def test_scores_by_hand(self):
        masks = [[{"token": token} for token in "abcde"]]
        answers = [{"masks": masks}] * 3
        scores = FillMask(data=DATA).scores([{"label": ["a"]}, {"label": ["c"]}, {"label": ["z"]}], answers)
        assert (scores["accuracy"], scores["recall_at_5"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_next_sentence(tmp_path, vocabulary):
    path = write(tmp_path / "a.tsv", "text\tsecond_text\tlabel\nthe cat\tsat\tnext\nthe\tdog\trandom\n")
    examples = NextSentence.read(DATA, path, "--input", labelled=True)
    task = NextSentence(data=DATA)
    graph = TaskGraph(task, Tokenizer(vocabulary))
    rows = graph.rows(examples, labelled=False)
    assert rows.arrays["input_type_ids"].sum(axis=1).tolist() == [2, 2]
    logits = np.log([[0.75, 0.25], [0.1, 0.9]]).astype(np.float32)
    answers = graph.answers(examples, rows, {"next_sentence_logits": logits})
    assert [(answer["label"], answer["probability"]) for answer in answers] == [("next", 0.75), ("random", 0.1)]
    logits = np.log([[0.75, 0.25], [0.9, 0.1]]).astype(np.float32)
    answers = graph.answers(examples, rows, {"next_sentence_logits": logits})
    assert [(answer["label"], answer["probability"]) for answer in answers] == [("next", 0.75), ("next", 0.9)]
    assert task.scores(examples, answers)["accuracy"] == 0.5
    with pytest.raises(InputError, match="a.tsv:2: expected next or random. Received: '1'."):
        NextSentence.read(
            DATA, write(tmp_path / "a.tsv", "text\tsecond_text\tlabel\na\tb\t1\n"), "--input", labelled=True
        )


def test_rows_of_like_length_share_a_batch_and_answers_keep_their_order(vocabulary, small_config):
    keras.utils.set_random_seed(0)
    task = Embedding(data=TextDataConfig(max_seq_length=16))
    model = task_model(task, dataclasses.replace(small_config, vocab_size=len(vocabulary)))
    texts = ["the cat " * n for n in (7, 1, 5, 2, 3)]
    rows = TaskGraph(task, Tokenizer(vocabulary)).rows([{"text": text} for text in texts], labelled=False)
    together = outputs_of(task, caller(model), rows.arrays, batch_size=2)["embedding"]
    for index, vector in enumerate(together):
        alone = {name: x[index : index + 1] for name, x in rows.arrays.items()}
        np.testing.assert_allclose(vector, np.asarray(model(alone)["embedding"])[0], atol=1e-6)
