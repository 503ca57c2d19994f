"""What a SavedModel gives where bert_tf.predict gives an answer, and the comparison of the two."""

import numpy as np


def as_served(name: str, answer: dict) -> dict:
    """What the signature should give where bert_tf.predict gives this."""
    if name in ("classification", "multi_label"):
        told = {"labels": list(answer["probabilities"]), "probabilities": list(answer["probabilities"].values())}
        return told | ({"label": answer["label"]} if name == "classification" else {})
    if name == "regression":
        return {"value": answer["value"]}
    if name == "embedding":
        return {"embedding": answer["embedding"]}
    if name == "next_sentence":
        return {key: answer[key] for key in ("label", "probability")}
    if name == "multiple_choice":
        choice = answer["choices"][answer["label"]]
        return {"label": answer["label"], "choice": choice, "probabilities": answer["probabilities"]}
    if name == "fill_mask":
        masks = answer["masks"]
        tokens, scores = ([[c[key] for c in mask] for mask in masks] for key in ("token", "probability"))
        return {"tokens": tokens, "scores": scores, "mask_count": len(masks)}
    if name == "token_classification":
        entities = answer["entities"]
        return {
            "words": answer["words"],
            "begins": [span[0] for span in answer["bytes"]],
            "ends": [span[1] for span in answer["bytes"]],
            "tags": answer["tags"],
            "probabilities": answer["probabilities"],
            "word_count": len(answer["words"]),
            "entities": [entity["text"] for entity in entities],
            "entity_types": [entity["type"] for entity in entities],
            "entity_begins": [entity["bytes"][0] for entity in entities],
            "entity_ends": [entity["bytes"][1] for entity in entities],
            "entity_count": len(entities),
        }
    plain = {key: answer[key] for key in ("answer", "start", "end", "probability", "no_answer_score")}
    n_best = answer["n_best"]
    of_n_best = {"answers": "text", "starts": "start", "ends": "end", "scores": "score"}
    of_n_best["probabilities"] = "probability"
    return (
        plain
        | {"n_best_count": len(n_best)}
        | {f"n_best_{key}": [candidate[field] for candidate in n_best] for key, field in of_n_best.items()}
    )


def check_same(found: dict, expected: dict, place) -> None:
    assert set(found) == set(expected), place
    for key, value in expected.items():
        if np.asarray(value).dtype.kind == "f" and np.size(value):
            np.testing.assert_allclose(found[key], value, atol=1e-5, rtol=0, err_msg=f"{place} {key}")
        else:
            assert list(found[key]) == [] if np.size(value) == 0 else found[key] == value, (place, key)
