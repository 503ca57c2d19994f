"""Single-label classification of short texts, from .jsonl or .tsv with the columns "text" and "label".

python -m bert_tf.finetune --config configs/finetune_classification.py --workdir runs/labels \
    --set init_from=runs/tiny/model --set data.train=train.tsv --set data.validation=validation.tsv

Hardware: 2 CPU cores, half a minute for BERT-tiny. Expected: depends on the data. make quickstart
trains this config to tell which of 8 packages wrote a docstring, with an accuracy of 66%.
"""

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.tasks.classification import ClassificationConfig
from bert_tf.tasks.shared.sections import ClassDataConfig


def get_config() -> ClassificationConfig:
    return ClassificationConfig(
        data=ClassDataConfig(max_seq_length=64),
        optimizer=OptimizerConfig(learning_rate=3e-4, warmup_steps=40),
        train=TrainConfig(
            steps=400,
            global_batch_size=32,
            steps_per_loop=20,
            log_every=40,
            evaluate_every=200,
            checkpoint_every=200,
        ),
    )
