"""What an installed wheel carries, tried away from the checkout; and what setup.cfg promises."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder into which a wheel built from this checkout was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder / "dist"), str(ROOT)]
    subprocess.run(build, check=True, cwd=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(wheel)]
    subprocess.run(install, check=True, cwd=folder)
    return folder / "site"


def run(installed: Path, folder: Path, code: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_carries_configs_protocols_and_pairs(installed: Path, tmp_path: Path) -> None:
    code = (
        "import reenact_zoo, importlib.resources as r\n"
        "print(reenact_zoo.__file__)\n"
        "from reenact_zoo.evaluation.protocol import load_protocol, protocol_names, suite_names\n"
        "from reenact_zoo.config import load_train_config\n"
        "[load_protocol(name) for name in protocol_names()]\n"
        "print(len(protocol_names()), *suite_names())\n"
        "print(load_train_config('example_synthetic', []).settings.max_updates)\n"
    )
    where, suites, updates = run(installed, tmp_path, code).splitlines()
    assert Path(where).is_relative_to(installed)
    assert "quickstart" in suites
    assert int(updates) > 0


@pytest.mark.slow  # compiles and measures for a minute what `make quickstart` does from the checkout
def test_wheel_runs_the_benchmark_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['reenact-zoo', 'benchmark', 'quickstart', '--limit', '2', '--quiet',\n"
        "    '--method', 'copy_source', '--out', 'out']\n"
        "from reenact_zoo.cli import main; main()"
    )
    assert "report:" in run(installed, tmp_path, code)
    assert list((tmp_path / "out").glob("*.html"))


def test_every_dependency_states_its_reason() -> None:
    parser = configparser.ConfigParser(inline_comment_prefixes=None)
    parser.read_string((ROOT / "setup.cfg").read_text(encoding="utf-8"))
    lines = parser["options"]["install_requires"].strip().splitlines()
    bare = [line for line in lines if "#" not in line]
    assert not bare


def test_nothing_large_and_no_foreign_path_is_tracked() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert sum(f.stat().st_size for f in files if f.exists()) < 55 * 2**20
