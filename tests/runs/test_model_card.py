import json
import shutil

from bert_tf.runs import model_card


def test_a_pretraining_run_is_described(mixed, mixed_run, corpus):
    text = (mixed_run / "model/README.md").read_text()
    assert text.splitlines()[1].startswith("license:  # not known") and 'pipeline_tag: "fill-mask"' in text
    for name, weight, source in (("web", 0.7, "0.txt"), ("books", 0.3, "1.txt")):
        manifest = json.loads((mixed / name / "dataset.json").read_text())
        rows = sum(shard["examples"] for shard in manifest["shards"] if "train" in shard["name"])
        documents = manifest["counts"]["documents_read"]
        expected = f"| `{mixed}/{name}` | {weight} | {rows:,} | {documents:,} | `{corpus / source}` |"
        assert expected in text
    evaluated = [json.loads(line) for line in (mixed_run / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in evaluated if line["split"] == "validation"][-1]
    assert f"| `loss` | {last['loss']:.6g} |" in text
    assert "| architecture | BertForPreTraining |" in text


def test_the_card_is_the_same_again_and_keeps_a_licence(mixed_run, tmp_path):
    copy = shutil.copytree(mixed_run, tmp_path / "run")
    path = copy / "model/README.md"
    model_card.write(str(copy), {"loss": 2.0})
    first = path.read_bytes()
    path.write_text(path.read_text().replace(path.read_text().splitlines()[1], "license: apache-2.0"))
    model_card.write(str(copy), {"loss": 2.0})
    lines = path.read_text().splitlines()
    assert lines[1] == "license: apache-2.0"
    assert lines[2:] == first.decode().splitlines()[2:]
