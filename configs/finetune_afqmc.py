"""Whether two Chinese questions about finance have the same meaning (CLUE; Xu et al. 2020).

python -m bert_tf.finetune --config configs/finetune_afqmc.py --workdir runs/afqmc \
    --set init_from=bert-base-chinese

Data: CLUE's JSON-lines files: --set data.train=afqmc/train.json --set data.validation=afqmc/dev.json. Use a Chinese
model.

Hardware: one GPU or TPU core. Published: BERT-base 73.70 accuracy on the test set (Xu et al. 2020, table 3). Not run
here, because the data and the published weights need a network.
"""

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.tasks.classification import ClassificationConfig
from bert_tf.tasks.shared.sections import ClassDataConfig


def get_config() -> ClassificationConfig:
    return ClassificationConfig(
        data=ClassDataConfig(
            text_field="sentence1",
            second_text_field="sentence2",
        ),
        optimizer=OptimizerConfig(learning_rate=2e-5),
        train=TrainConfig(global_batch_size=16, steps_per_loop=20, log_every=20),
        epochs=3.0,
    )
