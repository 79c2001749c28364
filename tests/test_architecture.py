"""The package keeps to its own rules: imports point one way, nothing grows without bound."""

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "keras_attn"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
SOURCES = [*MODULES.values(), *sorted((ROOT / "scripts").rglob("*.py"))]
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# Each line may import from the lines above it, and from its own.
ORDER = """
    __init__
    errors
    interruption
    files
    arguments
    precision
    losses
    batch_norm
    optimizers
    layers.per_frame layers.location_attention layers.segment_attention layers.weighted_pool
    layers.temporal_shift layers.saliency_mask
    layers.conv_lstm_attention layers.reattending_lstm
    layers layers.adaptive_max_pool layers.attended_lstm layers.pyramid_attention
    backbones.convert backbones.pixels backbones.spec backbones.weights
    backbones.bn_inception backbones.flownet_s backbones.temporal_shift_resnet
    backbones.imagenet backbones.motion_reinforcement backbones.tiny backbones.vgg backbones
    models.base models.steps
    models.pyramid_attention
    models.two_stream
    models.structured_attention models.sta_cnn
    models.temporal_attention models.where_and_when
    models.flow_pretraining
    models
    flow.median flow.bilinear
    flow.codec flow.pictures flow flow.tvl1 flow.classical
    flow.warped
    data data.sampling data.streams
    data.worker data.damage
    data.pool data.decode
    data.tables data.catalog data.synthetic data.transforms
    data.audit data.splits data.record_index data.records
    data.pipeline data.flow_index data.flow_making data.flow_records data.flow_pairs
    data.features data.source
    scores
    metrics
    late_fusion
    fusion
    trajectories.descriptors trajectories.pyramid
    trajectories.tracking
    trajectories.video
    trajectories.encoding trajectories.pictures
    trajectories
    trajectory_store
    trajectory_scores
    timeline overlays
    charts page
    report_evaluation
    report
    recipes.base
    recipes.changes
    recipes.structured_attention recipes.sta_cnn recipes.temporal_attention
    recipes.where_and_when recipes.pyramid_attention recipes.two_stream
    recipes
    checkpoint
    runs
    extraction
    tensorboard
    training_loop
    pretraining
    training
    pieces
    recognition fused_recognition
    loading
    evaluation
    verification_process verification
    prediction explanation
    exporting
    plain_ways
    benchmarks
    console commands
    cli
    __main__
"""
RANKS = {name: rank for rank, line in enumerate(ORDER.split("\n")) for name in line.split()}
TENSORFLOW = {
    "data.flow_pairs",
    "data.flow_making",
    "data.pipeline",
    "data.records",
    "data.sampling",
    "data.transforms",
    "console",
    "evaluation",
    "exporting",
    "extraction",
    "fused_recognition",
    "pieces",
    "prediction",
    "pretraining",
    "recognition",
    "tensorboard",
    "training",
    "training_loop",
    "verification",
    "verification_process",
}
KERAS_ONLY = {"layers", "losses", "precision", "batch_norm", "optimizers", "backbones", "models"}
FORBIDDEN = (
    r"\bpickle\b|\beval\(|shell=True|allow_pickle=True|\bLambda\(|safe_mode=False|TimeDistributed\("
    r"|\bTODO\b|\bFIXME\b|NotImplementedError|torch\.load"
)


def imports(path):
    """Every module that a file imports, at any depth of it, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by the full name, not a relative one"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(name):
    """`keras_attn.data.tables.Row` -> `data.tables`; None for what is not of this package."""
    if name.partition(".")[0] != "keras_attn":
        return None
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in MODULES:
        parts.pop()
    return ".".join(parts) or "__init__"


def test_the_order_names_every_module_once():
    assert sorted(ORDER.split()) == sorted(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    for imported in filter(None, map(own, imports(MODULES[module]))):
        assert RANKS[imported] <= RANKS[module], f"{module} must not import {imported}"
        pair = {imported.partition(".")[0], module.partition(".")[0]}
        assert pair != {"data", "models"}, "data knows no model, a model no data"


def test_tensorflow_is_imported_where_it_is_meant_to_be_only():
    found = {
        module
        for module, path in MODULES.items()
        if any(name.partition(".")[0] == "tensorflow" for name in imports(path))
    }
    assert found == TENSORFLOW & set(MODULES)


def test_what_computes_needs_keras_and_nothing_else():
    for module, path in MODULES.items():
        if module.partition(".")[0] in KERAS_ONLY:
            foreign = {name.partition(".")[0] for name in imports(path)} - {"keras_attn"}
            assert not foreign & {"tensorflow", "jax", "torch", "av", "cv2"}, module


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_is_long_and_no_file(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = node.end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 60, f"{path}: {node.name} has {lines} lines"


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_file_is_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_what_it_is(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")), clean=False)
    assert docstring, path
    first = docstring.split("\n")[0]
    assert first == first.strip() != ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_forbidden_is_used(path):
    text = path.read_text(encoding="utf-8")
    found = set(re.findall(FORBIDDEN, text))
    if path.name == "plain_ways.py":  # what the benchmarks compare with
        found -= {"TimeDistributed("}
    if path.name == "convert_weights.py":  # reads PyTorch's files, of tensors only
        assert re.findall(r"torch\.load\(([^)]*)", text) == [
            'source, map_location="cpu", weights_only=True'
        ]
        found -= {"torch.load"}
    assert not found, f"{path}: {found}"
    if PACKAGE in path.parents:
        calls = [n.func for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
        assert "print" not in {call.id for call in calls if isinstance(call, ast.Name)}


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_need_nothing_outside_the_repository(path):
    strings = [
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    foreign = [text for text in strings if re.match(r"(/work|/home|/root|/mnt|~/)", text)]
    assert foreign == [text for text in foreign if path == Path(__file__)]


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, tiny_data):
    """Its Python blocks, in order, in a folder where `data` is a prepared data folder."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.S)
    assert blocks
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(tiny_data)
    (tmp_path / "readme.py").write_text("\n".join(blocks), encoding="utf-8")
    runpy.run_path(str(tmp_path / "readme.py"))
