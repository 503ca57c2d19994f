"""Per-element losses and hits, in float32."""

from keras import ops


def cross_entropy(logits, labels):
    """float32 [..., classes] and int32 [...] -> float32 [...]: -log softmax(logits)[label]."""
    logits = ops.cast(logits, "float32")
    label_logits = ops.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return ops.logsumexp(logits, axis=-1) - label_logits


def correct(logits, labels):
    """float32 [...]: 1 where the largest logit is the label's."""
    return ops.cast(ops.equal(ops.argmax(logits, axis=-1), ops.cast(labels, "int32")), "float32")
