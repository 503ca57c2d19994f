"""Question answering: what an argument is, answered by its line in the docstring.

python -m quickstart.tasks --output runs/tasks
python -m bert_tf.finetune --config configs/offline_question_answering.py --workdir runs/question_answering

The data is made from text on this machine. The run starts from the model that make quickstart pretrained; --set
init_from=DIR starts from another checkpoint.

Hardware: 2 CPU cores. Expected: with two layers of all-MiniLM-L6-v2, 1,200 examples of four packages and 150 steps
(tests/runs/test_tasks_learn.py) an F1 of 0.59; the context's first sentence gives 0.45.
"""

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.tasks.question_answering import QuestionAnsweringConfig
from bert_tf.tasks.shared.answers import AnswerDataConfig


def get_config() -> QuestionAnsweringConfig:
    return QuestionAnsweringConfig(
        data=AnswerDataConfig(
            train="runs/tasks/question_answering-train.jsonl",
            validation="runs/tasks/question_answering-validation.jsonl",
            max_seq_length=96,
            doc_stride=32,
            max_query_length=16,
        ),
        optimizer=OptimizerConfig(learning_rate=1e-4),
        train=TrainConfig(global_batch_size=16, steps_per_loop=20, log_every=20),
        epochs=3.0,
        init_from="runs/quickstart/pretrain/model",
    )
