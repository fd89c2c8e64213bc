"""A module imports only from lower floors; the table is the architecture."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import reenact_zoo

PACKAGE = Path(reenact_zoo.__file__).parent

# Higher number = higher floor. Equal numbers are peers that do not know each other.
FLOORS = {
    "types": 0,
    "registry": 1,  # knows the error type of its ground-floor neighbour
    "ops": 10,
    "video": 10,
    "weights": 10,
    "consent": 10,
    "nn": 20,
    "faces": 21,
    "datasets": 30,
    "metrics": 30,
    "methods": 30,
    "data": 40,
    "config": 50,
    "evaluation": 51,
    "train": 60,
    "serving": 60,
    "testing": 60,
    "cli": 61,
}


def imports(path: Path) -> Iterator[str]:
    """Dotted names inside reenact_zoo that a file imports anywhere, function bodies included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the full name"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "reenact_zoo" else [module]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "reenact_zoo")


def violations(files: dict[str, Path]) -> list[str]:
    """One sentence for each import that goes up, or sideways between peers."""
    found = []
    for room, path in files.items():
        for name in imports(path):
            other = name.split(".")[1] if "." in name else ""
            if other in ("", "__version__", room):
                continue
            if FLOORS.get(other, 99) >= FLOORS[room]:
                found.append(f"{path.name} ({room}, floor {FLOORS[room]}) imports {name} (floor {FLOORS.get(other)})")
    return found


def files_by_room() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        room = relative.parts[0].removesuffix(".py")
        if room != "__init__":
            yield room, path


def test_every_room_has_a_floor() -> None:
    rooms = {room for room, _ in files_by_room()}
    assert rooms <= set(FLOORS), f"give {sorted(rooms - set(FLOORS))} a floor in this table and in the architecture"


def test_imports_go_down_only() -> None:
    problems = [problem for room, path in files_by_room() for problem in violations({room: path})]
    assert not problems, "\n".join(problems)


def test_an_upward_import_would_be_found(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def f():\n    from reenact_zoo.metrics.base import PairMetric\n    return PairMetric\n")
    assert violations({"methods": planted})
    assert not violations({"evaluation": planted})


def test_the_library_never_imports_its_users() -> None:
    outside = {"benchmarks", "tests", "docs"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.module.split(".")[0] not in outside, path


def test_nothing_is_called_utils() -> None:
    vague = {"utils", "util", "helpers", "common", "misc"}
    assert not [path for path in PACKAGE.rglob("*") if path.stem in vague]
