"""The configuration of a fine-tuning run: frozen dataclasses, like those of bert_tf/core/config.py.

Standard library only.
"""

import dataclasses
from typing import Literal

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.core.errors import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneDataConfig:
    """Where the examples are and how they become rows."""

    # .jsonl, .csv or .tsv (with a header line), .json (SQuAD), .conll (a word a line), or tfds:NAME[/CONFIG][:SPLIT]
    train: str = ""
    validation: str = ""  # the same, held out
    text_field: str = "text"  # column; question_answering has SQuAD's own names instead
    second_text_field: str | None = None  # column of the second text of a pair; none: single texts
    label_field: str = "label"  # column
    labels: tuple[str, ...] | None = None  # classes in the order of their ids; none: those of training, sorted
    choices_field: str = "choices"  # multiple_choice: column with a list of texts
    label_separator: str = ","  # multi_label: between the labels of an example that are one string
    tag_column: int = -1  # .conll: counted from 0, or from the end
    max_seq_length: int = 128  # tokens of a row, with [CLS] and [SEP]; what happens to longer texts is the task's
    # question_answering: tokens from one window of a long context to the next, BERT's run_squad. Windows overlap if it
    # is less than what data.max_seq_length leaves for the context.
    doc_stride: int = 128
    max_query_length: int = 64  # question_answering: tokens of the question, which is cut there; BERT's run_squad

    def __post_init__(self):
        require(self.max_seq_length >= 3, "data.max_seq_length must be at least 3", self.max_seq_length)
        for name in ("doc_stride", "max_query_length"):
            require(getattr(self, name) >= 1, f"data.{name} must be at least 1", getattr(self, name))
        require(bool(self.label_separator), "data.label_separator must not be empty", repr(self.label_separator))
        if self.labels is not None:
            require(len(set(self.labels)) == len(self.labels), "data.labels must differ", ", ".join(self.labels))


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """What tasks need to know beside their labels; each reads its own."""

    pooling: Literal["mean", "cls"] = "mean"  # embedding: of the tokens' outputs; Reimers and Gurevych 2019
    normalize: bool = True  # embedding: to length 1
    loss: Literal["contrastive", "cosine"] = "contrastive"  # embedding: pairs that belong together, or scored pairs
    # Contrastive: every pair of a group is told apart from the others of its group. A group lies whole in one replica
    # and microbatch, so that a step does not depend on their number; train.global_batch_size is a multiple of it.
    contrastive_group: int = 16
    similarity_scale: float = 20.0  # contrastive: what cosines are multiplied by before the softmax
    n_best_size: int = 20  # question_answering: starts and ends of a window that are combined; BERT's run_squad
    max_answer_length: int = 30  # question_answering: tokens; BERT's run_squad
    # question_answering: no answer is given where its score exceeds the best span's by more than this; none: every
    # question has an answer, as in SQuAD 1.1.
    no_answer_threshold: float | None = None
    decision_threshold: float = 0.5  # multi_label: a label is given from this probability on

    def __post_init__(self):
        for name in ("contrastive_group", "n_best_size", "max_answer_length"):
            require(getattr(self, name) >= 1, f"head.{name} must be at least 1", getattr(self, name))
        require(self.contrastive_group >= 2, "head.contrastive_group must be at least 2", self.contrastive_group)
        require(self.similarity_scale > 0, "head.similarity_scale must be positive", self.similarity_scale)
        require(0 < self.decision_threshold < 1, "head.decision_threshold must lie in (0, 1)", self.decision_threshold)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """Which weights learn, how fast, and when a run ends."""

    # full: all weights; lora: Hu et al. 2021; adapters: Houlsby et al. 2019. Both freeze the encoder itself.
    method: Literal["full", "lora", "adapters"] = "full"
    lora_rank: int = 8
    lora_alpha: float = 16.0  # the product of the two small matrices is scaled by alpha / rank
    lora_targets: tuple[str, ...] = ("query", "value")  # of query, key, value, attention_output, intermediate, output
    adapter_size: int = 64  # width of the bottleneck
    frozen_layers: int = 0  # the embeddings and so many blocks from below do not learn; -1: nothing but the head does
    layer_decay: float = 1.0  # the rate of a block is that of the block above it times this; the head has the full rate
    label_smoothing: float = 0.0  # classification, token_classification: share given to all labels alike
    class_weights: Literal["equal", "balanced"] = "equal"  # balanced: examples count by one over their class's share
    metric: str | None = None  # by which evaluation is best; none: the task's own
    select: Literal["best", "last"] = "best"  # the model that is kept: of the best evaluation, or of the last step
    early_stopping: int | None = None  # the run ends after so many evaluations that were not better than the best

    def __post_init__(self):
        for name in ("lora_rank", "adapter_size"):
            require(getattr(self, name) >= 1, f"tuning.{name} must be at least 1", getattr(self, name))
        targets = ("query", "key", "value", "attention_output", "intermediate", "output")
        require(
            bool(self.lora_targets) and set(self.lora_targets) <= set(targets),
            f"tuning.lora_targets must be some of {', '.join(targets)}",
            self.lora_targets,
        )
        require(self.lora_alpha > 0, "tuning.lora_alpha must be positive", self.lora_alpha)
        require(self.frozen_layers >= -1, "tuning.frozen_layers must be at least -1", self.frozen_layers)
        require(0 < self.layer_decay <= 1, "tuning.layer_decay must lie in (0, 1]", self.layer_decay)
        require(0 <= self.label_smoothing < 1, "tuning.label_smoothing must lie in [0, 1)", self.label_smoothing)
        if self.early_stopping is not None:
            require(self.early_stopping >= 1, "tuning.early_stopping must be at least 1 or none", self.early_stopping)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """A task's head on a pretrained encoder."""

    task: str = "classification"  # a name of bert_tf.tasks.TASKS
    data: FinetuneDataConfig = FinetuneDataConfig()
    head: HeadConfig = HeadConfig()
    tuning: TuningConfig = TuningConfig()
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=3e-5, warmup_steps=100)
    train: TrainConfig = TrainConfig(
        steps=1000,
        global_batch_size=32,
        steps_per_loop=50,
        log_every=50,
        evaluate_every=500,
        checkpoint_every=500,
    )
    # Passes over the training data. Then train.steps, and how often is evaluated (once a pass) and at least saved,
    # follow from it, and the warm-up from warmup_proportion. None: train.steps and optimizer.warmup_steps count.
    epochs: float | None = None
    warmup_proportion: float = 0.1  # of the steps; BERT's run_classifier
    classifier_dropout: float = 0.1  # before the head; question_answering and embedding have none there
    init_from: str = ""  # a workdir or model directory of ours, a Hugging Face folder, or a Google TF1 checkpoint's

    def __post_init__(self):
        require(0 <= self.classifier_dropout < 1, "classifier_dropout must lie in [0, 1)", self.classifier_dropout)
        require(0 <= self.warmup_proportion < 1, "warmup_proportion must lie in [0, 1)", self.warmup_proportion)
        if self.epochs is not None:
            require(self.epochs > 0, "epochs must be positive or none", self.epochs)
