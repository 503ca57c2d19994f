"""Per-element losses and hits, in float32."""

from keras import ops

from bert_tf.models.compiled import is_compiled


def cross_entropy(logits, labels):
    """float32 [..., classes] and int32 [...] -> float32 [...]: -log softmax(logits)[label]."""
    # One fused kernel on TensorFlow; picking the label's logit by index has a gradient that scatters into all of them.
    return ops.sparse_categorical_crossentropy(labels, ops.cast(logits, "float32"), from_logits=True)


def smoothed_cross_entropy(logits, labels, smoothing=None):
    """The same against (1 - smoothing) of the label and `smoothing` of all classes alike (Szegedy et al. 2016, 7)."""
    loss = cross_entropy(logits, labels)
    if smoothing is None:
        return loss
    everywhere = -ops.mean(ops.log_softmax(ops.cast(logits, "float32"), axis=-1), axis=-1)
    return (1.0 - smoothing) * loss + smoothing * everywhere


def binary_cross_entropy(logits, labels, positive_weights=1.0, focal_gamma=0.0):
    """float32 [...] each -> float32 [...]: -weight label log p - (1 - label) log(1 - p), p the sigmoid of the logit.

    Args:
      logits, labels: labels are 0 or 1.
      positive_weights: of each label, by which its examples count; a number or float32 [labels].
      focal_gamma: each decision counts by (1 - p of the right one)^gamma (Lin et al. 2017, 3.2).
    """
    right = logits * (2.0 * labels - 1.0)  # the logit of what is right
    loss = ops.softplus(-right) * (1.0 + labels * (positive_weights - 1.0))
    return loss * _focus(right, focal_gamma) if focal_gamma else loss


def focal_cross_entropy(logits, labels, gamma):
    """float32 [..., classes] and int32 [...] -> float32 [...]: (1 - p)^gamma (-log p), p the softmax of the label's
    logit (Lin et al. 2017, 3.2)."""
    logits = ops.cast(logits, "float32")
    is_label = ops.equal(ops.arange(logits.shape[-1], dtype="int32"), labels[..., None])
    own = ops.sum(ops.where(is_label, logits, 0.0), axis=-1)
    others = ops.logsumexp(ops.where(is_label, -1e9, logits), axis=-1)
    return cross_entropy(logits, labels) * _focus(own - others, gamma)


def _focus(right, gamma):
    """(1 - p)^gamma, p the sigmoid of `right`: as a softplus, whose gradient is finite where p rounds to 1."""
    return ops.exp(-gamma * ops.softplus(right))


def _first_largest(logits):
    """The index, by two reductions that XLA fuses; its top_k sorts all of them."""
    classes = logits.shape[-1]
    is_largest = logits >= ops.max(logits, axis=-1, keepdims=True)
    return ops.min(ops.where(is_largest, ops.arange(classes, dtype="int32"), classes), axis=-1)


def correct(logits, labels):
    """float32 [...]: 1 where the largest logit is the label's."""
    # Keras' argmax on TensorFlow first rewrites every logit to tell -0.0 from 0.0.
    best = _first_largest(logits) if is_compiled() else ops.top_k(logits, k=1, sorted=False)[1][..., 0]
    return ops.cast(ops.equal(ops.cast(best, "int32"), ops.cast(labels, "int32")), "float32")
