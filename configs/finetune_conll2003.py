"""Named entities in news: persons, organizations, places and others (Tjong Kim Sang and De Meulder 2003).

python -m bert_tf.finetune --config configs/finetune_conll2003.py --workdir runs/conll2003 \
    --set init_from=bert-base-cased

Data: CoNLL-2003; TensorFlow Datasets downloads it. To use the files: --set data.train=eng.train.conll and so on. Use a
cased model.

Hardware: one GPU or TPU core. Published: BERT-base 96.4 F1 on the development set and 92.4 on the test set (Devlin et
al. 2018, table 7). Not run here, because the data and the published weights need a network.
"""

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.tasks.token_classification import TagDataConfig, TokenClassificationConfig


def get_config() -> TokenClassificationConfig:
    return TokenClassificationConfig(
        data=TagDataConfig(
            train="tfds:conll2003",
            validation="tfds:conll2003:dev",
            text_field="tokens",
            label_field="ner",
        ),
        optimizer=OptimizerConfig(learning_rate=5e-5),
        train=TrainConfig(global_batch_size=32, steps_per_loop=20, log_every=20),
        epochs=3.0,
    )
