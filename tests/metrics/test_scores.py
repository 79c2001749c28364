"""The score file: what it keeps, and that no faulty one is written or read."""

import dataclasses
import io

import numpy as np
import pytest
from score_files import some_scores

from keras_attn.data import streams
from keras_attn.errors import DataError
from keras_attn.metrics.fusion_weights import fused_scores
from keras_attn.metrics.scores import INPUTS, log_probabilities, read_scores, write_scores


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_log_probabilities_are_finite_and_keep_the_probabilities():
    logits = log_probabilities(np.array([[0.25, 0.75, 0]], "float32"))
    np.testing.assert_allclose(logits, [[np.log(0.25), np.log(0.75), np.log(1e-30)]])
    assert logits.dtype == np.float64


def test_score_file_round_trip_is_exact_and_repeatable(rng, tmp_path):
    scores = some_scores(rng)
    write_scores(tmp_path / "a" / "scores.npz", scores)
    write_scores(tmp_path / "b.npz", scores)
    assert (tmp_path / "a" / "scores.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = read_scores(tmp_path / "b.npz")
    assert (again.ids, again.class_names) == (scores.ids, scores.class_names)
    assert (again.model, again.input, again.subset) == ("sta_cnn", "rgb", "test")
    for name in ("labels", "probabilities", "logits", "votes", "predicted"):
        np.testing.assert_array_equal(getattr(again, name), getattr(scores, name))


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("probabilities", lambda x: x[:, :-1], r"probabilities has shape \(23, 5\)"),
        ("probabilities", lambda x: x * 1.01, "Ski/.* sum to 1.01"),
        ("probabilities", lambda x: x * np.nan, "probabilities must hold finite"),
        ("labels", lambda x: x + 9, "labels must be integers from 0 to 5"),
        ("predicted", lambda x: x - 9, "predicted must be integers"),
        ("votes", lambda x: x[:4], "votes has shape"),
        ("ids", lambda x: [x[0]] * 23, "the same id is there twice"),
        ("ids", lambda x: [], "holds 0 videos"),
        ("logits", lambda x: x[:, 1:], r"logits has shape \(23, 5\)"),
        ("logits", lambda x: x - np.inf, "logits must hold finite"),
        ("model", lambda x: "", "model is empty, expected the name of a model"),
        ("input", lambda x: "video", "input is 'video', expected rgb, flow, .* fused"),
        ("subset", lambda x: "tset", "subset is 'tset', expected train, validation, test"),
    ],
)
def test_a_faulty_score_file_is_neither_written_nor_read(rng, tmp_path, field, change, message):
    path = tmp_path / "scores.npz"
    scores = some_scores(rng)
    faulty = dataclasses.replace(scores, **{field: change(getattr(scores, field))})
    with pytest.raises(DataError, match=message):
        write_scores(path, faulty)
    assert not path.exists()
    arrays = {f.name: np.array(getattr(faulty, f.name)) for f in dataclasses.fields(faulty)}
    np.savez(path, kind="probabilities", **arrays)
    with pytest.raises(DataError, match=f"scores.npz: .*{message}"):
        read_scores(path)


def test_files_that_are_no_score_files_are_named(rng, tmp_path):
    path = tmp_path / "scores.npz"
    with pytest.raises(DataError, match="scores.npz: no such file"):
        read_scores(path)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read"):
        read_scores(path)
    np.savez(path, kind="probabilities", ids=np.array(["a"]))
    with pytest.raises(DataError, match="lacks class_names, .*keras-attn evaluate RUN"):
        read_scores(path)
    memory = io.BytesIO()
    np.save(memory, np.eye(2))
    path.write_bytes(memory.getvalue())
    with pytest.raises(DataError, match="cannot be read"):
        read_scores(path)
    scores = some_scores(rng)
    write_scores(path, scores)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        read_scores(path)
    arrays = {f.name: np.array(getattr(scores, f.name)) for f in dataclasses.fields(scores)}
    older = ("model", "input", "subset", "logits")
    np.savez(path, kind="probabilities", **{k: arrays[k] for k in arrays if k not in older})
    with pytest.raises(DataError, match="it lacks input, logits, model, subset. Evaluate again"):
        read_scores(path)
    renamed = {"part" if name == "subset" else name: value for name, value in arrays.items()}
    np.savez(path, kind="probabilities", **renamed)
    with pytest.raises(DataError, match="it lacks subset. Evaluate again: keras-attn evaluate RUN"):
        read_scores(path)
    np.savez(path, kind="logits", **arrays)
    with pytest.raises(DataError, match="holds logits, expected probabilities"):
        read_scores(path)
    np.savez(path, kind="probabilities", **arrays | {"ids": np.array(scores.ids, object)})
    with pytest.raises(DataError, match="cannot be read"):
        read_scores(path)


def test_score_files_know_every_input_of_a_recipe():
    assert set(streams.INPUTS) <= set(INPUTS)


@pytest.mark.parametrize(("model", "answer"), [("structured_attention", 0), ("where_and_when", 1)])
def test_an_earlier_file_answers_by_the_rule_of_its_model(rng, tmp_path, model, answer):
    means, votes = np.array([[0.3, 0.7]]), np.array([[2, 1]])
    one = {"probabilities": means, "votes": votes, "predicted": np.array([0]), "model": model}
    scores = some_scores(rng, 1, 2, logits=log_probabilities(means), **one)
    arrays = {f.name: np.array(getattr(scores, f.name)) for f in dataclasses.fields(scores)}
    del arrays["clip_aggregation"]
    np.savez(tmp_path / "scores.npz", kind="probabilities", **arrays)
    found = read_scores(tmp_path / "scores.npz")
    assert found.predicted.tolist() == [found.decision.argmax()] == [answer]
    fused = fused_scores([found, found], (0.5, 0.5), "probabilities")
    assert fused.predicted.tolist() == [answer], "a model fused with itself answers as it does"
