"""Words with punctuation inside: learned from CoNLL, found in texts by predict, evaluate, a SavedModel and a server."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.core.errors import InputError
from bert_tf.interop import huggingface
from bert_tf.models.bert.config import BertConfig
from bert_tf.models.model import make_model
from bert_tf.runs import evaluation, finetuning, prediction
from bert_tf.serving.client.client import Client, Span
from bert_tf.serving.export import saved_model
from bert_tf.tasks.token_classification import TagDataConfig, TokenClassification, TokenClassificationConfig
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from tests.support.serving_process import running

NAMES, CITIES = ("alice", "bob", "carol", "dave"), ("paris", "rome", "oslo")
WORDS = (
    *NAMES,
    *CITIES,
    "met",
    "in",
    "on",
    "and",
    "or",
    "/",
    "-",
    ".",
    ",",
    *"0123456789",
    *(f"##{d}" for d in range(10)),
)
TEXT = "alice-bob and/or carol met on 9/7/1992, in rome."
ENTITIES = [("PER", "alice-bob"), ("PER", "carol"), ("DATE", "9/7/1992"), ("LOC", "rome")]


def sentences(seed: int, count: int) -> list[list[tuple[str, str]]]:
    """Words and tags; half of the persons have a hyphen, and every date has two slashes."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        first, second, third = rng.permutation(NAMES)[:3]
        person = f"{first}-{third}" if rng.random() < 0.5 else first
        date = f"{rng.integers(1, 29)}/{rng.integers(1, 13)}/{rng.integers(1900, 2030)}"
        tail = [(",", "O")] if rng.random() < 0.5 else []
        words = [(person, "B-PER"), ("and/or", "O"), (second, "B-PER")][:: 2 if rng.random() < 0.5 else 1]
        words += [("met", "O"), ("on", "O"), (date, "B-DATE"), *tail, ("in", "O"), (rng.choice(CITIES), "B-LOC")]
        found.append([*words, (".", "O")])
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model with random weights, CoNLL files, and the same validation data as texts with entities."""
    path = tmp_path_factory.mktemp("tagging")
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *WORDS))
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=48,
        initializer_range=0.1,
    )
    keras.utils.set_random_seed(0)
    huggingface.save(
        str(path / "start"),
        make_model(config, {"masked_lm": {}, "pair": {}}),
        vocabulary=vocabulary,
        tokenizer=TokenizerConfig(),
        max_seq_length=48,
    )
    for seed, (split, count) in enumerate({"train": 384, "validation": 64}.items()):
        made = sentences(seed, count)
        (path / f"{split}.conll").write_text("".join("\n".join(map(" ".join, s)) + "\n\n" for s in made))
        texts = []
        for sentence in made:
            text, spans = "", []
            for word, tag in sentence:
                text += "" if word in ",." or not text else " "
                spans += [[len(text), len(text) + len(word), tag[2:]]] if tag != "O" else []
                text += word
            texts.append(json.dumps({"text": text, "entities": spans}) + "\n")
        (path / f"{split}.jsonl").write_text("".join(texts))
    return path


def fine_tuned(folder, workdir, ending="conll") -> dict[str, float]:
    config = TokenClassificationConfig(
        data=TagDataConfig(
            train=str(folder / f"train.{ending}"), validation=str(folder / f"validation.{ending}"), max_seq_length=48
        ),
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=10),
        train=TrainConfig(
            steps=120,
            global_batch_size=32,
            steps_per_loop=20,
            log_every=60,
            evaluate_every=120,
            checkpoint_every=120,
            xla="off",
        ),
        init_from=str(folder / "start"),
    )
    return finetuning.run(config, str(workdir))


@pytest.mark.parametrize("is_finished", [False, True])
def test_a_workdir_without_tags_of_further_parts_says_what_to_do(folder, tmp_path, is_finished):
    """Version 0.1 had only the tags of the data, and the advice was to give what the run began with."""
    labels = ["B-DATE", "B-LOC", "B-PER", "O"]
    (tmp_path / "labels.json").write_text(json.dumps({"labels": labels}))
    if is_finished:
        (tmp_path / "model").mkdir()
    advice = f"Use its model {tmp_path}/model, or start a new run" if is_finished else "0.1. Start a new run"
    with pytest.raises(InputError, match=f"so it cannot resume this run of version .*{advice} in another --workdir.$"):
        fine_tuned(folder, tmp_path)
    (tmp_path / "labels.json").write_text(json.dumps({"labels": [*labels, "B-ORG"]}))
    with pytest.raises(InputError, match="Take another --workdir, or give what the run began with to resume.$"):
        fine_tuned(folder, tmp_path)


@pytest.fixture(scope="module")
def trained(folder):
    """(workdir of a model that CoNLL words taught, its scores)."""
    return folder / "run", fine_tuned(folder, folder / "run")


def found_in(answer: dict) -> list[tuple[str, str]]:
    return [(entity["type"], entity["text"]) for entity in answer["entities"]]


def test_a_text_is_answered_with_what_conll_words_taught(trained):
    workdir, scores = trained
    (answer,) = prediction.run(str(workdir / "model"), [TEXT])
    assert found_in(answer) == ENTITIES
    assert all(TEXT[entity["start"] : entity["end"]] == entity["text"] for entity in answer["entities"])
    (answer,) = prediction.run(str(workdir / "model"), [{"place": "x", "words": ["alice-bob", "met", "9/7/1992", ","]}])
    assert answer["tags"] == ["B-PER", "O", "B-DATE", "O"]
    assert found_in(answer) == [("PER", "alice-bob"), ("DATE", "9/7/1992")]
    # Each part of a word learned its tag, and nobody else's.
    assert scores["f1"] > 0.98 and scores["text_f1"] > 0.98
    assert evaluation.run(str(workdir)) == scores
    # No word of the file is I-: the further parts of words are.
    told = json.loads((workdir / "model/config.json").read_text())["id2label"]
    assert sorted(told.values()) == ["B-DATE", "B-LOC", "B-PER", "I-DATE", "I-LOC", "I-PER", "O"]


@pytest.mark.slow
def test_texts_with_entities_teach_the_same(folder, capsys):
    scores = fine_tuned(folder, folder / "spans", "jsonl")
    out = capsys.readouterr().out
    entities = sum(len(json.loads(line)["entities"]) for line in (folder / "train.jsonl").read_text().splitlines())
    assert f"384 examples, 384 rows; {entities} entities; 0 of " in out
    assert scores["f1"] > 0.98 and "text_f1" not in scores
    (answer,) = prediction.run(str(folder / "spans/model"), [TEXT])
    assert found_in(answer) == ENTITIES


@pytest.mark.slow
def test_evaluation_shows_a_model_of_first_pieces(folder, monkeypatch, capsys):
    """As version 0.1 trained, and as others do: perfect on words, and wrong in texts."""
    of_all_units = TokenClassification.label_arrays

    def of_first_units(self, examples, layout):
        arrays, notes = of_all_units(self, examples, layout)
        of_token = layout["word_units"][layout["word"]][layout["unit"]] == layout["unit"]
        return arrays | {"label_weights": arrays["label_weights"] * np.append(of_token, False)[layout["token"]]}, notes

    monkeypatch.setattr(TokenClassification, "label_arrays", of_first_units)
    scores = fine_tuned(folder, folder / "first")
    assert scores["f1"] > 0.98 and scores["text_f1"] < 0.8
    out = capsys.readouterr().out
    assert (
        f"warning: data.validation: f1 is {scores['text_f1']:.3f} for texts and {scores['f1']:.3f} for the words" in out
    )
    assert json.loads((folder / "first/evaluation.json").read_text()) == scores
    (answer,) = prediction.run(str(folder / "first/model"), [TEXT])
    assert ("DATE", "9/7/1992") not in found_in(answer)


@pytest.mark.slow
def test_the_saved_model_and_a_server_answer_texts_and_words(trained, tmp_path):
    path = saved_model.export(str(trained[0] / "model"), str(tmp_path / "served/tags"))
    signatures = tf.saved_model.load(path).signatures
    found = {name: value.numpy() for name, value in signatures["tag"](text=tf.constant([TEXT])).items()}
    spans = zip(found["entity_begins"][0], found["entity_ends"][0], strict=True)
    assert [TEXT[begin:end] for begin, end in spans] == [text for _, text in ENTITIES]
    assert found["entity_types"][0].tolist() == [kind.encode() for kind, _ in ENTITIES]

    texts = [["alice-bob", "and/or", "carol", "met", "on", "9/7/1992", "in", "oslo", "."], ["rome"], []]
    words = tf.constant([[*row, *[""] * (9 - len(row))] for row in texts])
    found = {name: value.numpy() for name, value in signatures["tag_words"](words=words).items()}
    tags = [["B-PER", "O", "B-PER", "O", "O", "B-DATE", "O", "B-LOC", "O"], ["B-LOC", *[""] * 8], [""] * 9]
    assert [[tag.decode() for tag in row] for row in found["tags"]] == tags
    assert found["word_count"].tolist() == [9, 1, 0] and found["entity_count"].tolist() == [4, 1, 0]
    assert found["entity_types"].tolist() == [[b"PER", b"PER", b"DATE", b"LOC"], [b"LOC", *[b""] * 3], [b""] * 4]
    assert [found[f"entity_{end}_words"][0].tolist() for end in ("first", "last")] == [[0, 2, 5, 7]] * 2
    expected = prediction.run(str(trained[0] / "model"), [{"place": "x", "words": row} for row in texts])
    for row, answer in enumerate(expected):
        chances = found["probabilities"][row, : len(answer["words"])]
        np.testing.assert_allclose(chances, answer["probabilities"], atol=1e-5)

    with running("--model_name=tags", f"--model_base_path={tmp_path / 'served/tags'}") as server:
        rows = [{"words": texts[0]}, {"words": [*texts[1], *[""] * 8]}]
        body = {"signature_name": "tag_words", "instances": rows}
        predictions = server.post("/v1/models/tags:predict", body)["predictions"]
        assert [row["tags"] for row in predictions] == tags[:2]
        # One input goes without its name.
        body["instances"] = [row["words"] for row in rows]
        assert server.post("/v1/models/tags:predict", body)["predictions"] == predictions
        for api, address in (("grpc", server.grpc), ("rest", server.rest)):
            with Client(address, "tags", api=api) as client:
                (tagged,) = client.tag([TEXT])
                assert [(entity.kind, entity.text) for entity in tagged.entities] == ENTITIES
                one, two, three = client.tag_words(texts)
                assert [(word.text, word.kind) for word in one.words] == list(
                    zip(texts[0], expected[0]["tags"], strict=True)
                )
                assert one.entities[2] == Span("9/7/1992", "DATE", 5, 6)
                assert (len(two.words), three.words, three.entities) == (1, [], [])
                assert client.tag_words([]) == [] and client.tag_words([[]])[0].words == []
