"""Similarity of two sentences, from 0 to 5 (STS-B; Cer et al. 2017).

python -m bert_tf.finetune --config configs/finetune_stsb.py --workdir runs/stsb \
    --set init_from=bert-base-uncased

Data: GLUE; TensorFlow Datasets downloads it. The BERT paper uses batches of 16 or 32, 2 to 4 epochs and learning
rates of 2e-5 to 5e-5; to search them: --search learning_rate=2e-5,3e-5,5e-5 epochs=2,3,4.

Hardware: one GPU or TPU core. Published: BERT-base 85.8 Spearman's correlation on the test set (Devlin et al. 2018,
table 1). Not run here, because the data and the published weights need a network.
"""

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.tasks.regression import RegressionConfig
from bert_tf.tasks.shared.sections import TextDataConfig


def get_config() -> RegressionConfig:
    return RegressionConfig(
        data=TextDataConfig(
            train="tfds:glue/stsb",
            validation="tfds:glue/stsb",
            text_field="sentence1",
            second_text_field="sentence2",
        ),
        optimizer=OptimizerConfig(learning_rate=2e-5),
        train=TrainConfig(global_batch_size=32, steps_per_loop=20, log_every=20),
        epochs=3.0,
    )
