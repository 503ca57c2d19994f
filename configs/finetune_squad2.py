"""Questions, half of which have no answer in their paragraph (SQuAD 2.0; Rajpurkar et al. 2018).

python -m bert_tf.finetune --config configs/finetune_squad2.py --workdir runs/squad2 \
    --set init_from=bert-base-uncased

Data: SQuAD; TensorFlow Datasets downloads it. To use the published files: --set data.train=train-v2.0.json --set
data.validation=dev-v2.0.json. All settings, such as length and stride, are those of google-research/bert's run_squad.
After the run, copy best_no_answer_threshold from evaluation.json to head.no_answer_threshold in the model's
config.json.

Hardware: one GPU or TPU core. Published: BERT-large 78.7 exact match and 81.9 F1 on the development set (Devlin et
al. 2018, table 3). Not run here, because the data and the published weights need a network.
"""

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.tasks.question_answering import QuestionAnsweringConfig
from bert_tf.tasks.shared.answers import AnswerDataConfig, AnswerHeadConfig


def get_config() -> QuestionAnsweringConfig:
    return QuestionAnsweringConfig(
        data=AnswerDataConfig(
            train="tfds:squad/v2.0",
            validation="tfds:squad/v2.0",
            max_seq_length=384,
            doc_stride=128,
            max_query_length=64,
        ),
        head=AnswerHeadConfig(no_answer_threshold=0.0),
        optimizer=OptimizerConfig(learning_rate=5e-5),
        train=TrainConfig(global_batch_size=48, steps_per_loop=20, log_every=20),
        epochs=2.0,
    )
