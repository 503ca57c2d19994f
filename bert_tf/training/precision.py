"""The Keras dtype policy that train.precision names."""

import keras


def policy(precision: str) -> keras.DTypePolicy:
    """float32 or mixed_bfloat16: the type of activations; weights, LayerNorm, softmax and losses stay float32."""
    return keras.DTypePolicy(precision)
