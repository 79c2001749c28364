"""The rule by which the clips of a video become one answer."""

import typing

import numpy as np

Aggregation = typing.Literal["vote", "mean"]


def decision(probabilities, votes, aggregation: Aggregation) -> np.ndarray:
    """Shares of the classes whose largest is the answer of a video, `(V, K)`; they sum to one.

    For "mean" the probabilities. For "vote" a mean probability, which is below one, joins the
    numbers of votes: it decides ties, and nothing else, eq. (15).
    """
    probabilities = np.asarray(probabilities, "float64")
    if aggregation == "mean":
        return probabilities
    votes = np.asarray(votes, "float64")
    return (votes + probabilities) / (votes.sum(1, keepdims=True) + 1)
