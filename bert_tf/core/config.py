"""The configuration of a run: frozen dataclasses. Loading and overriding them is in bert_tf/core/config_io.py.

Standard library only.
"""

import dataclasses
from typing import Literal

from bert_tf.core.errors import InputError, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class BertConfig:
    """The network. Field names and meanings are those of Hugging Face's config.json."""

    vocab_size: int = 30_522  # the released uncased English vocabulary
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072  # 4 x hidden_size in every published model
    hidden_act: Literal["gelu", "gelu_new"] = "gelu"  # gelu: erf form; gelu_new: tanh form, google-research/bert
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02  # standard deviation of a truncated normal
    layer_norm_eps: float = 1e-12

    def __post_init__(self):
        for name in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
            "type_vocab_size",
        ):
            require(getattr(self, name) >= 1, f"model.{name} must be at least 1", getattr(self, name))
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            require(0 <= getattr(self, name) < 1, f"model.{name} must lie in [0, 1)", getattr(self, name))
        require(
            self.hidden_size % self.num_attention_heads == 0,
            "model.hidden_size must be divisible by model.num_attention_heads",
            f"{self.hidden_size} and {self.num_attention_heads}",
        )


# Layers, width and heads; the feed-forward width is four times the width. Turc et al. 2019 and Devlin et al. 2018.
_PRESETS = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}


def preset(name: str, **changes) -> BertConfig:
    """A published size: tiny, mini, small, medium, base or large, with fields changed by name."""
    if name not in _PRESETS:
        raise InputError(f"preset must be one of {', '.join(_PRESETS)}. Received: {name}.")
    layers, width, heads = _PRESETS[name]
    return BertConfig(
        **{
            "num_hidden_layers": layers,
            "hidden_size": width,
            "num_attention_heads": heads,
            "intermediate_size": 4 * width,
            **changes,
        }
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW as google-research/bert has it, or LAMB."""

    name: Literal["adamw", "lamb"] = "adamw"  # lamb: for batches of thousands; You et al. 2020
    learning_rate: float = 1e-4  # the peak; BERT paper, A.2
    warmup_steps: int = 10_000  # optimizer steps of linear warm-up; BERT paper, A.2
    final_learning_rate: float = 0.0  # the rate after the last step
    decay_power: float = 1.0  # of the polynomial that leads there: 1 is a line
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-6
    weight_decay: float = 0.01  # decoupled; not on biases and LayerNorm
    clip_norm: float | None = 1.0  # global norm of the gradient, after the sum over replicas
    bias_correction: bool = False  # google-research/bert has none; the LAMB paper has it

    def __post_init__(self):
        require(self.learning_rate > 0, "optimizer.learning_rate must be positive", self.learning_rate)
        require(
            0 <= self.final_learning_rate <= self.learning_rate,
            "optimizer.final_learning_rate must lie in [0, optimizer.learning_rate]",
            self.final_learning_rate,
        )
        require(self.decay_power > 0, "optimizer.decay_power must be positive", self.decay_power)
        require(self.warmup_steps >= 0, "optimizer.warmup_steps must not be negative", self.warmup_steps)
        for name in ("beta_1", "beta_2"):
            require(0 <= getattr(self, name) < 1, f"optimizer.{name} must lie in [0, 1)", getattr(self, name))
        require(self.epsilon > 0, "optimizer.epsilon must be positive", self.epsilon)
        require(self.weight_decay >= 0, "optimizer.weight_decay must not be negative", self.weight_decay)
        if self.clip_norm is not None:
            require(self.clip_norm > 0, "optimizer.clip_norm must be positive or none", self.clip_norm)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a run goes, whatever it trains."""

    steps: int = 1_000_000  # optimizer steps; BERT paper, A.2
    global_batch_size: int = 256  # examples per optimizer step, over all replicas
    microbatches: int = 1  # pieces that a replica's batch is cut into, one after the other, to save memory
    rematerialize: bool = False  # compute a block's activations again in the backward pass, to save more memory
    # auto: a TPU if this host has one, else the workers of TF_CONFIG, else all GPUs of this host, else its CPU
    strategy: Literal["auto", "single", "mirrored", "multi_worker", "tpu"] = "auto"
    # Of the activations; weights, their moments and the losses stay float32.
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    # Compile with XLA; auto: the optimizer's update, and on GPUs the gradients (a TPU compiles everything, always)
    xla: Literal["auto", "on", "off"] = "auto"
    steps_per_loop: int = 100  # steps on the device between two looks from the host
    log_every: int = 100  # steps between two lines of metrics.jsonl
    evaluate_every: int = 10_000  # steps between two evaluations; one more before the first step and after the last
    evaluate_examples: int | None = None  # validation examples looked at each time; none: all
    checkpoint_every: int = 1_000  # steps between two checkpoints
    keep_checkpoints: int = 3  # the last so many, and the best by validation loss
    mirror: str = ""  # folder such as gs://bucket/run: a copy of the workdir, from which an empty one is filled
    on_nonfinite: Literal["stop", "rewind"] = "stop"  # when a loss or gradient is no number
    rewind_checkpoints: int = 1  # rewind: checkpoints to go back; the batches from there to the fault are skipped
    profile_steps: tuple[int, int] | None = None  # write a profile of these steps to events/, the first to the last
    seed: int = 12345  # weights, order of the data, dropout

    def __post_init__(self):
        for name in (
            *("steps", "global_batch_size", "microbatches", "steps_per_loop", "log_every"),
            *("evaluate_every", "checkpoint_every", "keep_checkpoints", "rewind_checkpoints"),
        ):
            require(getattr(self, name) >= 1, f"train.{name} must be at least 1", getattr(self, name))
        require(0 <= self.seed < 2**32, "train.seed must lie in [0, 2^32)", self.seed)
        if self.evaluate_examples is not None:
            require(
                self.evaluate_examples >= 1,
                "train.evaluate_examples must be at least 1 or none",
                self.evaluate_examples,
            )
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
class PretrainDataConfig:
    train: str = ""  # folder of shards
    validation: str | None = None  # folder of shards; none: the validation split of data.train
    vocab: str | None = None  # vocab.txt that the shards must have been made with; none: whatever they carry
    max_seq_length: int = 128  # must be what the shards were made with
    max_predictions_per_seq: int = 20  # likewise, unless the shards were made with --masking=none
    masked_lm_prob: float = 0.15  # share of the tokens to mask in training, for shards made with --masking=none
    # Equal parts of a batch, each read from shards of its own. The batches depend on it, so it is not the number of
    # workers, which may change between two runs, but a multiple of it.
    readers: int = 1

    def __post_init__(self):
        for name in ("max_seq_length", "max_predictions_per_seq", "readers"):
            require(getattr(self, name) >= 1, f"data.{name} must be at least 1", getattr(self, name))
        require(0 < self.masked_lm_prob < 1, "data.masked_lm_prob must lie in (0, 1)", self.masked_lm_prob)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Masked LM and next sentence, from shards."""

    model: BertConfig = BertConfig()
    data: PretrainDataConfig = PretrainDataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    init_from: str | None = None  # model directory to start from (bert_tf.convert makes one); none: random weights

    def __post_init__(self):
        require(
            self.data.max_seq_length <= self.model.max_position_embeddings,
            "data.max_seq_length must not exceed model.max_position_embeddings",
            f"{self.data.max_seq_length} and {self.model.max_position_embeddings}",
        )
