"""Whether a sentence is acceptable English (CoLA; Warstadt et al. 2018).

python -m bert_tf.finetune --config configs/finetune_cola.py --workdir runs/cola \
    --set init_from=bert-base-uncased

Data: GLUE; TensorFlow Datasets downloads it. The BERT paper uses batches of 16 or 32, 2 to 4 epochs and learning
rates of 2e-5 to 5e-5; to search them: --search learning_rate=2e-5,3e-5,5e-5 epochs=2,3,4.

Hardware: one GPU or TPU core. Published: BERT-base 52.1 Matthews' correlation on the test set (Devlin et al. 2018,
table 1). Not run here, because the data and the published weights need a network.
"""

from bert_tf.core.config import OptimizerConfig, TrainConfig, TuningConfig
from bert_tf.tasks.classification import ClassificationConfig
from bert_tf.tasks.shared.sections import ClassDataConfig


def get_config() -> ClassificationConfig:
    return ClassificationConfig(
        data=ClassDataConfig(
            train="tfds:glue/cola",
            validation="tfds:glue/cola",
            text_field="sentence",
            max_seq_length=64,
        ),
        tuning=TuningConfig(metric="matthews"),
        optimizer=OptimizerConfig(learning_rate=3e-5),
        train=TrainConfig(global_batch_size=32, steps_per_loop=20, log_every=20),
        epochs=3.0,
    )
