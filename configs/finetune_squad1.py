"""Questions whose answer is a span of a paragraph (SQuAD 1.1; Rajpurkar et al. 2016).

python -m bert_tf.finetune --config configs/finetune_squad1.py --workdir runs/squad1 \
    --set init_from=bert-base-uncased

Data: SQuAD; TensorFlow Datasets downloads it. To use the published files: --set data.train=train-v1.1.json --set
data.validation=dev-v1.1.json. All settings, such as length and stride, are those of google-research/bert's run_squad.

Hardware: one GPU or TPU core. Published: BERT-base 80.8 exact match and 88.5 F1 on the development set (Devlin et al.
2018, table 2). Not run here, because the data and the published weights need a network.
"""

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.tasks.question_answering import QuestionAnsweringConfig
from bert_tf.tasks.shared.answers import AnswerDataConfig


def get_config() -> QuestionAnsweringConfig:
    return QuestionAnsweringConfig(
        data=AnswerDataConfig(
            train="tfds:squad/v1.1",
            validation="tfds:squad/v1.1",
            max_seq_length=384,
            doc_stride=128,
            max_query_length=64,
        ),
        optimizer=OptimizerConfig(learning_rate=3e-5),
        train=TrainConfig(global_batch_size=32, steps_per_loop=20, log_every=20),
        epochs=2.0,
    )
