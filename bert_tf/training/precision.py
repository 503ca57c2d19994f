"""The Keras dtype policy that train.precision names."""

import keras


def policy(precision: str) -> keras.DTypePolicy:
    """float32, mixed_bfloat16 or mixed_float16: of the activations. Weights, softmax and losses stay float32."""
    return keras.DTypePolicy(precision)
