"""Answer requests with a SavedModel, under both loaders, without this package.

Run as a file in an isolated interpreter: FOLDER REQUESTS.npz ANSWERS.npz. Importing `keras_attn` or
`keras` is made to fail, so that an export that needs either cannot pass.
"""

import json
import sys

import numpy as np


def main(folder, requests, answers):
    # Before TensorFlow, which imports parts of Keras where it can.
    sys.modules["keras_attn"] = sys.modules["keras"] = None
    with np.load(requests, allow_pickle=False) as archive:
        cases = json.loads(archive["cases"].tobytes())
        inputs = [(read_request(archive, i), read_lengths(archive, i)) for i in range(len(cases))]
    found = {}
    for loader, ask in (
        ("tf.saved_model.load", _modern(folder, {name for name, _ in cases})),
        ("tf.compat.v1.saved_model.loader", _classic(folder)),
    ):
        for i, ((name, _), request) in enumerate(zip(cases, inputs, strict=True)):
            for key, value in ask(name, *request).items():
                found[f"{loader}/{i}/{key}"] = value
    with open(answers, "wb") as file:
        np.savez(file, **found)


def read_request(archive, i):
    """Request `i` of a reference; strings (JPEG) lie there as lengths and one run of bytes."""
    request = archive[f"{i}/request"]
    if f"{i}/lengths" not in archive:
        return request
    lengths = archive[f"{i}/lengths"]
    data, ends = request.tobytes(), np.cumsum(lengths)
    strings = np.empty(lengths.size, object)
    strings[:] = [data[end - n : end] for end, n in zip(ends, lengths.ravel(), strict=True)]
    return strings.reshape(lengths.shape)


def read_lengths(archive, i):
    """The lengths of the videos of request `i`, or None where its signature takes none."""
    return archive[f"{i}/video_lengths"] if f"{i}/video_lengths" in archive else None


def _by_name(names, request, lengths):
    """The tensors of a request by the names of its signature: of the videos, and `lengths`."""
    if lengths is None:
        (name,) = names
        return {name: request}
    (name,) = set(names) - {"lengths"}
    return {name: request, "lengths": lengths}


def _modern(folder, asked):
    import tensorflow as tf

    model = tf.saved_model.load(folder)
    untold = sorted(set(model.signatures) - asked)
    if untold:
        sys.exit(f"its reference says nothing of {', '.join(untold)}; export again")

    def ask(name, *request):
        signature = model.signatures[name]
        tensors = _by_name(signature.structured_input_signature[1], *request)
        answer = signature(**{argument: tf.constant(x) for argument, x in tensors.items()})
        return {key: value.numpy() for key, value in answer.items()}

    return ask


def _classic(folder):
    """The loader of TF 1 and of TF Serving: it restores variables by name from the graph."""
    import tensorflow as tf

    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    with graph.as_default():
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)

    def ask(name, *request):
        signature = meta.signature_def[name]
        tensors = _by_name(signature.inputs, *request)
        outputs = {key: info.name for key, info in signature.outputs.items()}
        return session.run(outputs, {signature.inputs[key].name: x for key, x in tensors.items()})

    return ask


if __name__ == "__main__":
    main(*sys.argv[1:])
