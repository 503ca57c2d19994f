"""The configuration of a run: frozen dataclasses. config_io.py loads, overrides and compares them.

Standard library only. The network's section is the family's own (bert_tf/models/FAMILY/config.py), the config of a
fine-tuning run is the task's own (bert_tf/tasks/TASK.py).
"""

import dataclasses
import math
from typing import ClassVar, Literal

from bert_tf.core.errors import require
from bert_tf.core.section import Section, bounded, from_data


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig(Section):
    """What the config of every encoder family has. Field names are those of transformers' config.json."""

    section: ClassVar[str] = "model"
    model_type: str
    vocab_size: int | None = from_data(at_least=1)  # None: that of the shards
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    type_vocab_size: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Section):
    """AdamW as google-research/bert has it, or LAMB."""

    section: ClassVar[str] = "optimizer"
    name: Literal["adamw", "lamb"] = "adamw"  # lamb: for batches of thousands; You et al. 2020
    learning_rate: float = bounded(1e-4, above=0)  # the peak; BERT paper, A.2
    warmup_steps: int = bounded(10_000, at_least=0)  # optimizer steps of linear warm-up; BERT paper, A.2
    final_learning_rate: float = bounded(0.0, at_least=0)  # the rate after the last step
    decay_power: float = bounded(1.0, above=0)  # of the polynomial that leads there: 1 is a line
    beta_1: float = bounded(0.9, at_least=0, below=1)
    beta_2: float = bounded(0.999, at_least=0, below=1)
    epsilon: float = bounded(1e-6, above=0)
    weight_decay: float = bounded(0.01, at_least=0)  # decoupled; not on biases and norms
    clip_norm: float | None = bounded(1.0, above=0)  # global norm of the gradient, after the sum over replicas
    bias_correction: bool = False  # google-research/bert has none; the LAMB paper has it

    def __post_init__(self):
        super().__post_init__()
        require(
            self.final_learning_rate <= self.learning_rate,
            "optimizer.final_learning_rate must not exceed optimizer.learning_rate",
            f"{self.final_learning_rate} and {self.learning_rate}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Section):
    """How a run goes, whatever it trains."""

    section: ClassVar[str] = "train"
    engine: str = "tensorflow"  # a name of bert_tf.training.engines.engine.ENGINES
    steps: int = bounded(1_000_000, at_least=1)  # optimizer steps; BERT paper, A.2
    global_batch_size: int = bounded(256, at_least=1)  # examples of an optimizer step, over all replicas
    microbatches: int = bounded(1, at_least=1)  # pieces of a replica's batch that run one after another, to save memory
    rematerialize: bool = False  # compute a block's activations again in the backward pass, to save more memory
    # auto: a TPU if this host has one, else the workers of TF_CONFIG, else all GPUs of this host, else its CPU
    strategy: Literal["auto", "single", "mirrored", "multi_worker", "tpu"] = "auto"
    # Of the activations; weights, their moments and the losses stay float32.
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    # Compile with XLA; auto: the optimizer's update, and on GPUs the gradients (a TPU compiles everything, always)
    xla: Literal["auto", "on", "off"] = "auto"
    steps_per_loop: int = bounded(100, at_least=1)  # steps on the device before the host checks on them
    log_every: int = bounded(100, at_least=1)  # steps between two lines of metrics.jsonl
    # steps between two evaluations; one more before the first step and after the last
    evaluate_every: int = bounded(10_000, at_least=1)
    evaluate_examples: int | None = bounded(None, at_least=1)  # validation examples of an evaluation; none: all
    checkpoint_every: int = bounded(1_000, at_least=1)  # steps between two checkpoints
    keep_checkpoints: int = bounded(3, at_least=1)  # the last so many, and the best by validation loss
    mirror: str = ""  # folder such as gs://bucket/run: a copy of the workdir, from which an empty one is filled
    on_nonfinite: Literal["stop", "rewind"] = "stop"  # when a loss or gradient is NaN or infinite
    # rewind: checkpoints to go back; the batches from there to the fault are skipped
    rewind_checkpoints: int = bounded(1, at_least=1)
    profile_steps: tuple[int, int] | None = None  # write a profile of these steps to events/, the first to the last
    seed: int = bounded(12345, at_least=0, below=2**32)  # weights, order of the data, dropout

    def __post_init__(self):
        super().__post_init__()
        require(
            self.rewind_checkpoints <= self.keep_checkpoints,
            "train.rewind_checkpoints must not exceed train.keep_checkpoints",
            f"{self.rewind_checkpoints} and {self.keep_checkpoints}",
        )
        if self.profile_steps is not None:
            first, last = self.profile_steps
            require(
                1 <= first <= last <= self.steps,
                "train.profile_steps must be two steps of the run, ascending",
                self.profile_steps,
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainDataConfig(Section):
    """Shards and how they are read. Lengths that are left out are those of the shards."""

    section: ClassVar[str] = "data"
    train: str | tuple[str, ...] = ""  # folder of shards; or several, of which each batch has its share
    weights: tuple[float, ...] = ()  # shares of the folders in a batch, in any unit; none: by their numbers of examples
    validation: str | None = None  # folder of shards; none: the validation splits of data.train
    vocab: str | None = None  # vocab.txt that the shards must have been made with; none: whatever they carry
    max_seq_length: int | None = from_data(at_least=1)  # tokens of a row
    # Masked tokens of a row, at most. Of shards made with --masking=none: room for masked_lm_prob of a full row.
    max_predictions_per_seq: int | None = from_data(at_least=1)
    # Share of the tokens to mask in training, for shards made with --masking=none.
    masked_lm_prob: float = bounded(0.15, above=0, below=1)
    # A batch is read in this many equal parts. Each part reads other shards. The batches depend on this number, so it
    # must not change during a run. It is a multiple of the number of workers, which may change.
    readers: int = bounded(1, at_least=1)

    def __post_init__(self):
        super().__post_init__()
        folders = self.train_folders
        require(len(set(folders)) == len(folders), "data.train must name each folder once", ", ".join(folders))
        require(
            not self.weights or len(self.weights) == len(folders),
            f"data.weights must have one number for each of the {len(folders)} folders of data.train",
            len(self.weights),
        )
        require(
            all(weight > 0 and math.isfinite(weight) for weight in self.weights),
            "data.weights must be positive",
            ", ".join(map(str, self.weights)),
        )

    @property
    def train_folders(self) -> tuple[str, ...]:
        """The folders of data.train."""
        return (self.train,) if isinstance(self.train, str) else self.train


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig(Section):
    """A pretraining run: an encoder learns an objective from shards."""

    model: EncoderConfig
    objective: str = "masked_lm"  # a name of bert_tf.objectives.objective.OBJECTIVES
    data: PretrainDataConfig = PretrainDataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    init_from: str | None = None  # model directory to start from (bert_tf.convert makes one); none: random weights

    def __post_init__(self):
        super().__post_init__()
        require(
            (self.data.max_seq_length or 0) <= self.model.max_position_embeddings,
            "data.max_seq_length must not exceed model.max_position_embeddings",
            f"{self.data.max_seq_length} and {self.model.max_position_embeddings}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuningConfig(Section):
    """Which weights learn, how fast, and when a run ends."""

    section: ClassVar[str] = "tuning"
    # full: all weights; lora: Hu et al. 2021; adapters: Houlsby et al. 2019. Both freeze the encoder itself.
    method: Literal["full", "lora", "adapters"] = "full"
    lora_rank: int = bounded(8, at_least=1)
    lora_alpha: float = bounded(16.0, above=0)  # the product of the two small matrices is scaled by alpha / rank
    lora_targets: tuple[str, ...] = ("query", "value")  # parts of a block, as the family names them
    adapter_size: int = bounded(64, at_least=1)  # width of the bottleneck
    # The embeddings and so many blocks from below do not learn; -1: nothing but the head does.
    frozen_layers: int = bounded(0, at_least=-1)
    # The rate of a block is that of the block above it times this; the head has the full rate.
    layer_decay: float = bounded(1.0, above=0, at_most=1)
    # classification, token_classification: share given to all labels alike
    label_smoothing: float = bounded(0.0, at_least=0, below=1)
    class_weights: Literal["equal", "balanced"] = "equal"  # balanced: examples count by one over their class's share
    # classification, token_classification: LABEL=WEIGHT each, by which examples of the label count; others count 1
    label_weights: tuple[str, ...] = ()
    # multi_label: LABEL=WEIGHT each, by which the loss of the label's positive examples is multiplied; or balanced:
    # number of negatives / number of positives
    positive_weights: tuple[str, ...] = ()
    # classification, token_classification, multi_label: examples count by (1 - p of what is right) to this power;
    # 0: all alike; Lin et al. 2017: 2
    focal_gamma: float = bounded(0.0, at_least=0)
    metric: str | None = None  # by which evaluation is best; none: the task's own
    select: Literal["best", "last"] = "best"  # the model that is kept: of the best evaluation, or of the last step
    # The run ends after so many evaluations that were not better than the best.
    early_stopping: int | None = bounded(None, at_least=1)

    def __post_init__(self):
        super().__post_init__()
        require(bool(self.lora_targets), "tuning.lora_targets must name at least one part", self.lora_targets)
        require(
            not self.frozen_layers or self.method == "full",
            f"tuning.frozen_layers must be 0 with tuning.method={self.method}, which freezes every layer",
            self.frozen_layers,
        )
        require(
            not self.label_weights or self.class_weights == "equal",
            f"tuning.label_weights must be empty with tuning.class_weights={self.class_weights}",
            ", ".join(self.label_weights),
        )
        require(
            not self.focal_gamma or not self.label_smoothing,
            "tuning.focal_gamma must be 0 with tuning.label_smoothing, which is defined for plain cross entropy",
            self.focal_gamma,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskDataConfig(Section):
    """Where a task's examples are and how long its rows are; each task adds its columns."""

    section: ClassVar[str] = "data"
    # .jsonl, .csv or .tsv (with a header line), .json (SQuAD), .conll (a word a line), or tfds:NAME[/CONFIG][:SPLIT]
    train: str = ""
    validation: str = ""  # the same, held out
    # Tokens of a row, special tokens included; what happens to longer texts is the task's.
    max_seq_length: int = bounded(128, at_least=3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadConfig(Section):
    """A task's settings beside its columns: none, unless the task has its own."""

    section: ClassVar[str] = "head"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig(Section):
    """A fine-tuning run: a task's head on a pretrained encoder. Each task has a subclass with its own sections."""

    task: str  # a name of bert_tf.tasks.task.TASKS
    data: TaskDataConfig
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
    epochs: float | None = bounded(None, above=0)
    warmup_proportion: float = bounded(0.1, at_least=0, below=1)  # of the steps; BERT's run_classifier
    # Before the head; question_answering and embedding have none there.
    classifier_dropout: float = bounded(0.1, at_least=0, below=1)
    # A workdir or model directory of this project, a Hugging Face folder, or the folder of a Google TF1 checkpoint.
    init_from: str = ""
