"""Times keras-hub's BERT backbone and masked-LM head, with a next-sentence head and Keras' AdamW."""

import os

from benchmarks.peers import timing


def main() -> None:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import keras_hub
    import tensorflow as tf

    arguments = timing.arguments()
    if arguments.precision == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    batch = {name: tf.constant(x) for name, x in timing.load(arguments.batch).items()}
    sizes = timing.SIZES
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=sizes["vocab_size"],
        num_layers=sizes["num_hidden_layers"],
        num_heads=sizes["num_attention_heads"],
        hidden_dim=sizes["hidden_size"],
        intermediate_dim=sizes["intermediate_size"],
        dropout=timing.DROPOUT,
        max_sequence_length=sizes["max_position_embeddings"],
    )
    masked_lm = keras_hub.layers.MaskedLMHead(
        token_embedding=backbone.token_embedding, intermediate_activation="gelu", dtype=backbone.dtype_policy
    )
    next_sentence = keras.layers.Dense(2)
    inputs = {
        "token_ids": batch["input_word_ids"],
        "padding_mask": batch["input_mask"],
        "segment_ids": batch["input_type_ids"],
    }
    encoded = backbone(inputs)
    masked_lm(encoded["sequence_output"], mask_positions=batch["masked_lm_positions"])
    next_sentence(encoded["pooled_output"])
    layers = (backbone, masked_lm, next_sentence)  # which share the embedding table
    weights = list({id(weight): weight for layer in layers for weight in layer.trainable_weights}.values())
    optimizer = keras.optimizers.AdamW(
        timing.LEARNING_RATE, weight_decay=timing.WEIGHT_DECAY, global_clipnorm=timing.CLIP_NORM
    )
    optimizer.build(weights)

    @tf.function(jit_compile=arguments.xla)
    def train_step():
        with tf.GradientTape() as tape:
            encoded = backbone(inputs, training=True)
            logits = masked_lm(encoded["sequence_output"], mask_positions=batch["masked_lm_positions"])
            loss = timing.loss_in_tensorflow(batch, logits, next_sentence(encoded["pooled_output"]))
        values = [weight.value for weight in weights]
        optimizer.apply(tape.gradient(loss, values), weights)
        return loss

    timing.time_steps(lambda: float(train_step()), arguments.steps)


if __name__ == "__main__":
    main()
