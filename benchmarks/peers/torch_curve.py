"""Trains transformers' BertForPreTraining on batches from files; benchmarks/pretraining_curve.py runs it."""

import json
import sys
import time

import numpy as np
import torch
import transformers

_NO_DECAY = ("bias", "LayerNorm.weight")


def main(folder: str, start: str, output: str, steps: int, every: int, rate: float, warmup: int) -> None:
    torch.manual_seed(0)
    training, validation = (dict(np.load(f"{folder}/{name}.npz")) for name in ("training", "validation"))
    model = transformers.BertForPreTraining.from_pretrained(start)
    groups = [{"params": [], "weight_decay": decay} for decay in (0.01, 0.0)]
    for name, weight in model.named_parameters():
        groups[name.endswith(_NO_DECAY)]["params"].append(weight)
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.999), eps=1e-6, fused=True)
    began = time.time()
    with open(output, "w", encoding="utf-8") as file:
        for step in range(steps + 1):
            if step % every == 0:
                line = {"step": step, **_evaluate(model, validation)}
                file.write(json.dumps(line) + "\n")
                file.flush()
                print(f"torch step {step}/{steps} loss {line['loss']:.4f} {time.time() - began:.0f} s", flush=True)
            if step == steps:
                return
            model.train()
            losses, _, _ = _losses(model, {name: x[step] for name, x in training.items()})
            optimizer.zero_grad()
            sum(total / weight for total, weight in losses).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = rate * (step / warmup if step < warmup else 1 - step / steps)
            optimizer.step()


def _losses(model, batch):
    """[(sum, weight)] of both losses, and the number of correct predictions with its weight."""
    x = {name: torch.from_numpy(v.astype(np.int64)) for name, v in batch.items() if v.dtype != np.float32}
    weights = torch.from_numpy(batch["masked_lm_weights"])
    real = torch.from_numpy(batch["next_sentence_weights"])[:, 0]
    encoded = model.bert(x["input_word_ids"], x["input_mask"], x["input_type_ids"])
    rows = torch.arange(len(weights))[:, None]
    # Only the masked positions: all of them would take most of the time and give the same numbers.
    words, pairs = model.cls(encoded.last_hidden_state[rows, x["masked_lm_positions"]], encoded.pooler_output)
    word_losses = torch.nn.functional.cross_entropy(words.transpose(1, 2), x["masked_lm_ids"], reduction="none")
    pair_losses = torch.nn.functional.cross_entropy(pairs, x["next_sentence_labels"][:, 0], reduction="none")
    hits = ((words.argmax(-1) == x["masked_lm_ids"]) * weights).sum()
    losses = [((word_losses * weights).sum(), weights.sum()), ((pair_losses * real).sum(), real.sum())]
    return losses, hits, weights.sum()


@torch.no_grad()
def _evaluate(model, validation) -> dict[str, float]:
    model.eval()
    totals = np.zeros(6)
    for index in range(len(validation["input_mask"])):
        losses, hits, weight = _losses(model, {name: x[index] for name, x in validation.items()})
        totals += [float(v) for v in (*losses[0], *losses[1], hits, weight)]
    word, pair = totals[0] / totals[1], totals[2] / totals[3]
    return {"loss": word + pair, "masked_lm_loss": word, "masked_lm_accuracy": totals[4] / totals[5]}


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6]), int(sys.argv[7]))
