import json

import pytest

from pipelines.instances.pool import InstanceConfig
from pipelines.jobs.job import JobConfig
from pipelines.jobs.pretraining_data import create_pretraining_data
from pipelines.reading.readers import Format
from pipelines.writing import data_card

SENTENCES = "The cat sat on the mat. It was a warm day. The dog ran away, and nobody knew why. "


def make(tmp_path, corpus_vocab, licences) -> str:
    lines = [
        json.dumps({"text": f"{number} {SENTENCES * 3}", "terms": licence}) for number, licence in enumerate(licences)
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    create_pretraining_data(
        input_patterns=[str(tmp_path / "in.jsonl")],
        vocab=str(corpus_vocab),
        output_dir=str(tmp_path / "out"),
        config=JobConfig(
            instances=InstanceConfig(max_seq_length=64),
            file_format=Format(licence_field="terms"),
            num_shards=2,
            validation_fraction=0,
        ),
    )
    return (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize(
    ("licences", "field", "line"),
    [
        (["mit"] * 8, 'license: "mit"', "| mit | 8 |"),
        (["mit"] * 5 + [None] * 3, "license:  # not known", "| not known | 3 |"),
        ([None] * 8, "license:  # not known", "Not known. `--licence_field`"),
    ],
)
def test_licences_come_from_the_input(tmp_path, corpus_vocab, licences, field, line):
    text = make(tmp_path, corpus_vocab, licences)
    assert text.splitlines()[1].startswith(field)
    assert line in text


def test_a_card_has_the_facts_and_no_times(shards):
    manifest = json.loads((shards / "dataset.json").read_text())
    text = (shards / "README.md").read_text()
    assert text == data_card.text_of({**manifest, "seconds": 12345.6})
    train = [shard for shard in manifest["shards"] if "train" in shard["name"]]
    rows, size = (sum(shard[name] for shard in train) for name in ("examples", "bytes"))
    assert f"| train | 3 | {rows:,} | {size:,} |" in text
    assert f"| `{manifest['input']['patterns'][0]}` |" in text and "| `max_seq_length` | `64` |" in text
    assert 'size_categories: ["n<1K"]' in text if rows < 1000 else 'size_categories: ["1K<n<10K"]' in text
