"""Scores for tests: made-up answers of a model, and score files of them."""

import dataclasses

import numpy as np

from keras_attn.metrics.scores import Scores, log_probabilities


def some_scores(rng, videos=23, classes=6, **changes):
    probabilities = rng.dirichlet(np.ones(classes), videos)
    scores = Scores(
        ids=[f"Ski/é {i}.avi" for i in range(videos)],
        labels=rng.integers(0, classes - 1, videos),  # the last class does not occur
        class_names=[f"class {k}" for k in range(classes)],
        probabilities=probabilities,
        logits=log_probabilities(probabilities),
        votes=rng.integers(0, 4, (videos, classes)),
        predicted=probabilities.argmax(1),
        model="sta_cnn",
        input="rgb",
        subset="test",
    )
    return dataclasses.replace(scores, **changes)


def reordered(scores, order):
    """The same scores with their rows in another order."""
    names = ("labels", "probabilities", "logits", "votes", "predicted")
    rows = {name: np.asarray(getattr(scores, name))[order] for name in names}
    return dataclasses.replace(scores, ids=[scores.ids[i] for i in order], **rows)


def answering(scores, logits, **changes):
    """Scores with these logits, and the probabilities and answers that go with them."""
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    found = {"probabilities": probabilities, "predicted": probabilities.argmax(1)}
    return dataclasses.replace(scores, logits=logits, **found, **changes)


def streams(rng, inputs=("rgb", "flow"), videos=23, model="sta_cnn", **changes):
    """Different answers to the same videos, one stream for each of `inputs`."""
    first = some_scores(rng, videos, model=model, **changes)
    sizes = [rng.normal(size=first.probabilities.shape) for _ in inputs]
    return [answering(first, 3 * x, input=name) for x, name in zip(sizes, inputs, strict=True)]
