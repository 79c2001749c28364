"""The package keeps to its own rules: imports point one way, nothing grows without bound."""

import ast
import graphlib
import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "keras_attn"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
SOURCES = [*MODULES.values(), *sorted((ROOT / "scripts").rglob("*.py"))]
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# What each package may import; everything may import the root and `utils`. A dot names one module.
MAY_IMPORT = {
    "utils": "",
    "losses": "",
    "flow": "",
    "layers": "losses",
    "backbones": "layers",
    "models": "backbones layers losses",
    "testing": "models",
    "decoding": "",
    "datasets": "decoding",
    "data": "datasets decoding flow",
    "metrics": "datasets",
    "trajectories": "data datasets flow metrics",
    "recipes": "backbones data models",
    "training": "backbones data datasets models recipes",
    "visualization": "metrics",
    "inference": "data datasets decoding flow metrics models recipes training.runs visualization",
    "evaluation": "data datasets inference metrics training.runs visualization",
    "serving": "data inference training.runs",
    "cli": "*",
}
TENSORFLOW = {"data", "inference", "training", "evaluation", "serving", "cli", "testing"}
KERAS_ONLY = {"layers", "losses", "backbones", "models"}
KERAS_ONLY |= {"utils.masks", "utils.numerics", "utils.precision", "flow.tvl1"}
KERAS_ONLY |= {"training.batch_norm", "training.optimizers"}
FORBIDDEN = (
    r"\bpickle\b|\beval\(|shell=True|allow_pickle=True|\bLambda\(|safe_mode=False|TimeDistributed\("
    r"|\bTODO\b|\bFIXME\b|NotImplementedError|torch\.load"
)
BRITISH = (
    r"colour|\bgrey|centre|neighbour|(?:normal|serial|optim|regular|recogn|initial|summar)is(?:e|ing|ation)"
    r"|behaviour|licence|learnt|labelled"
)


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path, anywhere=True):
    """Every module that a file imports, as dotted names; else only those of its first level."""
    tree = parsed(path)
    for node in ast.walk(tree) if anywhere else tree.body:
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


def own_imports(module, anywhere=True):
    return {own(name) for name in imports(MODULES[module], anywhere)} - {None, module}


def package_of(module):
    return module.partition(".")[0] if "." in module or module in MAY_IMPORT else ""


def test_the_root_holds_three_modules_and_the_packages_of_the_table():
    names = {path.stem for path in PACKAGE.glob("*.py")}
    assert names == {"__init__", "__main__", "errors"}
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert packages == set(MAY_IMPORT)
    deep = [module for module in MODULES if module.count(".") > 1]
    assert not deep, "one level of packages"


def test_packages_import_what_the_table_allows():
    for module in MODULES:
        package = package_of(module)
        allowed = MAY_IMPORT.get(package, "*").split()
        for imported in own_imports(module):
            target = package_of(imported)
            fine = target in ("", "utils", package, *allowed) or imported in allowed
            assert fine or "*" in allowed, f"{module} must not import {imported}"


def test_contributing_shows_the_packages_as_they_are():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)/` \| .* \| (.*?) ?\|$", text, re.M)
    shown = {name: set(imports.replace("everything", "*").split(", ")) for name, imports in rows}
    assert shown == {name: set(allowed.split() or [""]) for name, allowed in MAY_IMPORT.items()}


def test_paths_in_the_documents_exist():
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        named = re.findall(
            r"`((?:keras_attn|tests|scripts|docs|notebooks)/[\w/.-]+)`", path.read_text()
        )
        assert not [name for name in named if not (ROOT / name).exists()], path


def test_there_is_no_circle():
    packages = {name: set() for name in MAY_IMPORT}
    for name, allowed in MAY_IMPORT.items():
        packages[name] = {entry.partition(".")[0] for entry in allowed.split()} - {"*"}
    assert list(graphlib.TopologicalSorter(packages).static_order())
    modules = {module: own_imports(module, anywhere=False) for module in MODULES}
    assert list(graphlib.TopologicalSorter(modules).static_order())


def test_tensorflow_is_imported_where_it_is_meant_to_be_only():
    for module, path in MODULES.items():
        found = {name.partition(".")[0] for name in imports(path)}
        assert "tensorflow" not in found or package_of(module) in TENSORFLOW, module


def test_what_computes_needs_keras_and_nothing_else():
    for module, path in MODULES.items():
        if module in KERAS_ONLY or package_of(module) in KERAS_ONLY:
            foreign = {name.partition(".")[0] for name in imports(path)} - {"keras_attn"}
            assert not foreign & {"tensorflow", "jax", "torch", "av", "cv2"}, module


def test_no_function_is_long_and_no_file():
    for path in SOURCES + TESTS:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path
    for path in SOURCES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = node.end_lineno - body[0].lineno + 1 if body else 0
                assert lines <= 60, f"{path}: {node.name} has {lines} lines"


def test_every_file_says_what_it_is():
    for path in SOURCES + TESTS:
        docstring = ast.get_docstring(parsed(path), clean=False)
        assert docstring, path
        first = docstring.split("\n")[0]
        assert first == first.strip() != "", path


def test_nothing_forbidden_is_used():
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        found = set(re.findall(FORBIDDEN, text))
        if path.name == "naive_baselines.py":  # what the benchmarks compare with
            found -= {"TimeDistributed("}
        if path.name == "convert_weights.py":  # reads PyTorch's files, of tensors only
            assert re.findall(r"torch\.load\(([^)]*)", text) == [
                'source, map_location="cpu", weights_only=True'
            ]
            found -= {"torch.load"}
        assert not found, f"{path}: {found}"
        if PACKAGE in path.parents:
            calls = [n.func for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
            assert "print" not in {call.id for call in calls if isinstance(call, ast.Name)}, path


def test_there_is_one_spelling():
    texts = [*SOURCES, *TESTS, *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    for path in texts:
        found = re.findall(BRITISH, path.read_text(encoding="utf-8"))
        assert not found or path == Path(__file__), f"{path}: {found}"


def test_tests_need_nothing_outside_the_repository():
    for path in TESTS:
        strings = [
            node.value
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        foreign = [text for text in strings if re.match(r"(/work|/home|/root|/mnt|~/)", text)]
        assert foreign == [text for text in foreign if path == Path(__file__)], path


def test_tests_mirror_the_packages():
    folders = {path.parent.name for path in TESTS if path.name.startswith("test_")}
    assert folders - {"tests", "scripts"} <= set(MAY_IMPORT)


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, tiny_data):
    """Its Python blocks, in order, in a folder where `data` is a prepared data folder."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.S)
    assert blocks
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(tiny_data)
    (tmp_path / "readme.py").write_text("\n".join(blocks), encoding="utf-8")
    runpy.run_path(str(tmp_path / "readme.py"))
