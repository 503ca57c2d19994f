"""Times tf-models-official's BERT pretrainer with its AdamWeightDecay; it computes logits at masked positions only."""

import os

from benchmarks.peers import timing


def main() -> None:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf
    import tf_keras
    from official.nlp.modeling import layers, models, networks
    from official.nlp.optimization import AdamWeightDecay

    arguments = timing.arguments()
    if arguments.precision == "bfloat16":
        tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    batch = {name: tf.constant(x) for name, x in timing.load(arguments.batch).items()}
    sizes = timing.SIZES
    encoder = networks.BertEncoderV2(
        vocab_size=sizes["vocab_size"],
        hidden_size=sizes["hidden_size"],
        num_layers=sizes["num_hidden_layers"],
        num_attention_heads=sizes["num_attention_heads"],
        inner_dim=sizes["intermediate_size"],
        max_sequence_length=sizes["max_position_embeddings"],
        type_vocab_size=sizes["type_vocab_size"],
        output_dropout=timing.DROPOUT,
        attention_dropout=timing.DROPOUT,
    )
    head = layers.ClassificationHead(sizes["hidden_size"], num_classes=2, dropout_rate=timing.DROPOUT, name="next")
    model = models.BertPretrainerV2(encoder, classification_heads=[head])
    inputs = {name: batch[name] for name in ("input_word_ids", "input_mask", "input_type_ids", "masked_lm_positions")}
    model(inputs)
    optimizer = AdamWeightDecay(
        timing.LEARNING_RATE,
        weight_decay_rate=timing.WEIGHT_DECAY,
        epsilon=1e-6,
        exclude_from_weight_decay=["LayerNorm", "layer_norm", "bias"],
        gradient_clip_norm=timing.CLIP_NORM,
    )

    @tf.function(jit_compile=arguments.xla)
    def train_step():
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            loss = timing.loss_in_tensorflow(batch, outputs["mlm_logits"], outputs["next"])
        gradients = tape.gradient(loss, model.trainable_variables)
        pairs = zip(gradients, model.trainable_variables, strict=True)
        optimizer.apply_gradients([(gradient, variable) for gradient, variable in pairs if gradient is not None])
        return loss

    timing.time_steps(lambda: float(train_step()), arguments.steps)


if __name__ == "__main__":
    main()
