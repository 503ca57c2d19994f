"""Times transformers' BertForPreTraining on PyTorch, with the fused AdamW and autocast."""

import torch
import transformers

from benchmarks.peers import timing


def main() -> None:
    arguments = timing.arguments()
    batch = {name: torch.tensor(x) for name, x in timing.load(arguments.batch).items()}
    config = transformers.BertConfig(
        **timing.SIZES, hidden_dropout_prob=timing.DROPOUT, attention_probs_dropout_prob=timing.DROPOUT
    )
    model = transformers.BertForPreTraining(config).train()
    # Its labels cover every position: -100 where there is no prediction.
    labels = torch.full(batch["input_word_ids"].shape, -100)
    real = batch["masked_lm_weights"] > 0
    rows = torch.arange(len(labels))[:, None].expand_as(real)
    labels[rows[real], batch["masked_lm_positions"][real].long()] = batch["masked_lm_ids"][real].long()
    inputs = {
        "input_ids": batch["input_word_ids"].long(),
        "attention_mask": batch["input_mask"].long(),
        "token_type_ids": batch["input_type_ids"].long(),
        "labels": labels,
        "next_sentence_label": batch["next_sentence_labels"][:, 0].long(),
    }
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=timing.LEARNING_RATE, weight_decay=timing.WEIGHT_DECAY, fused=True
    )
    if arguments.xla:
        model = torch.compile(model)

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bfloat16"):
            loss = model(**inputs).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), timing.CLIP_NORM)
        optimizer.step()
        return loss.item()

    timing.time_steps(step, arguments.steps)


if __name__ == "__main__":
    main()
