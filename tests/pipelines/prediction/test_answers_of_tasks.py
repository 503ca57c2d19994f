"""Bulk prediction of every task: the answers of bert_tf.predict, in the order of the input."""

import json

import pyarrow.parquet
import pytest

from bert_tf.runs import prediction
from pipelines.jobs.bulk_prediction import predict
from pipelines.prediction.steps import AnswerConfig
from tests.support import served_models
from tests.support.serving import bulk_examples
from tests.support.serving.served_answers import as_served, check_same

COUNT = 30


def lines_of(folder) -> list[dict]:
    paths = sorted(folder.glob("predictions-*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", served_models.TASKS)
def test_every_task_gives_the_answers_of_predict(exported, tmp_path, name):
    asked = served_models.examples(name, COUNT)
    data = bulk_examples.write_lines(tmp_path / "asked.jsonl", bulk_examples.rows(name, asked))
    config = AnswerConfig(examples_per_shard=12, batch_size=8, keep_inputs=False, keep=("number",))
    manifest = predict(
        model=str(exported / "served" / name / "1"), input_patterns=[data], output=str(tmp_path / "out"), config=config
    )
    assert [shard["examples"] for shard in manifest["shards"]] == [12, 12, 6]
    expected = prediction.run(str(exported / "models" / name), asked)
    for number, (found, answer) in enumerate(zip(lines_of(tmp_path / "out"), expected, strict=True)):
        assert found.pop("number") == number
        check_same(found, as_served(name, answer), number)


def test_words_and_texts_to_tag_may_be_mixed_and_go_to_parquet(exported, tmp_path):
    asked = [{"text": "The quick brown fox."}, {"text": ["The", "quick", "fox"]}, {"text": ["Jumps"]}, {"text": ""}]
    data = bulk_examples.write_lines(tmp_path / "asked.jsonl", asked)
    model = str(exported / "served/token_classification/1")
    predict(model=model, input_patterns=[data], output=str(tmp_path / "lines"))
    predict(model=model, input_patterns=[data], output=str(tmp_path / "table"), config=AnswerConfig(form="parquet"))
    lines = lines_of(tmp_path / "lines")
    given = [{"words": row["text"], "place": ""} if isinstance(row["text"], list) else row for row in asked]
    expected = prediction.run(str(exported / "models/token_classification"), given)
    assert [line["tags"] for line in lines] == [answer["tags"] for answer in expected]
    assert [line["word_count"] for line in lines] == [5, 3, 1, 0]
    assert [line.get("text") for line in lines] == ["The quick brown fox.", None, None, ""]
    assert lines[1]["words"] == ["The", "quick", "fox"]
    assert lines[1]["entity_last_words"] == [entity["words"][1] - 1 for entity in expected[1]["entities"]]
    table = pyarrow.parquet.read_table(next((tmp_path / "table").glob("predictions-*.parquet"))).to_pylist()
    assert [{name: value for name, value in row.items() if value is not None} for row in table] == lines


def test_columns_may_have_other_names_and_parquet_gives_the_answers_of_json(exported, tmp_path):
    texts = served_models.texts(20)
    rows = [{"sentence": text, "partner": texts[-1 - n]} for n, text in enumerate(texts)]
    bulk_examples.write_lines(tmp_path / "asked.jsonl", rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "asked.parquet", row_group_size=7)
    for ending in ("jsonl", "parquet"):
        predict(
            model=str(exported / "served/regression/1"),
            input_patterns=[str(tmp_path / f"asked.{ending}")],
            output=str(tmp_path / ending),
            text_field="sentence",
            second_text_field="partner",
        )
    assert lines_of(tmp_path / "jsonl") == lines_of(tmp_path / "parquet")
    assert [line["text"] for line in lines_of(tmp_path / "jsonl")] == texts
    assert [line["second_text"] for line in lines_of(tmp_path / "jsonl")] == texts[::-1]
