from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import reenact_zoo
from reenact_zoo.serving.animate import animate
from reenact_zoo.serving.provenance import content_sha256, read_provenance, sidecar_path
from reenact_zoo.types import InputError
from reenact_zoo.video.read import read_image
from reenact_zoo.video.write import read_metadata, write_image


def made(stage: Any, out: str, driving: Path, consent: str = "agreed on 1 May, see 'Vertrag Nr. 7' €") -> Path:
    path = stage.out / out
    animate(
        stage.source,
        driving,
        path,
        method="zoo_methods:Echo",
        size=32,
        consent=consent,
        progress=False,
        instruments=stage.instruments,
    )
    return path


@pytest.mark.parametrize("out", ["x.mp4", "x.mov", "x.mkv", "x.png", "x.jpg", "frames"])
def test_every_output_says_what_it_is(stage: Any, out: str) -> None:
    driving = stage.source if out in ("x.png", "x.jpg") else stage.clip(frames=2)
    path = made(stage, out, driving)
    found = read_provenance(path)
    assert found.metadata == {
        "synthetic": "true",
        "tool": "reenact_zoo",
        "version": reenact_zoo.__version__,
        "method": "zoo_methods:Echo",
        "weights_sha256": "none",
        "source_sha256": hashlib.sha256(stage.source.read_bytes()).hexdigest(),
        "driving_sha256": hashlib.sha256(driving.read_bytes()).hexdigest(),
        "consent": "agreed on 1 May, see 'Vertrag Nr. 7' €",
    }
    assert found.sidecar is not None
    assert found.output_matches is True
    assert found.sidecar["consent"] == found.metadata["consent"]
    assert found.sidecar["output"]["sha256"] == content_sha256(path)
    assert found.sidecar["source"]["sha256"] == found.metadata["source_sha256"]
    assert found.sidecar["method"]["name"] == "zoo_methods:Echo"
    assert {frame["status"] for frame in found.sidecar["frames"]} == {"ok"}
    first = sorted(path.iterdir())[0] if path.is_dir() else path
    assert read_metadata(first)["comment"].startswith("Synthetic media: face reenactment made with reenact_zoo")


def test_consent_that_nobody_stated_is_said_so(stage: Any) -> None:
    found = read_provenance(made(stage, "x.png", stage.source, consent=""))
    assert found.metadata["consent"] == "not stated"


def test_a_changed_output_no_longer_matches(stage: Any) -> None:
    path = made(stage, "x.png", stage.source)
    write_image(path, read_image(path))
    found = read_provenance(path)
    assert found.output_matches is False
    assert found.metadata == {}  # the new file says nothing of itself
    frames = made(stage, "frames", stage.clip(frames=2))
    assert read_provenance(frames).output_matches is True
    (frames / "000001.png").rename(frames / "000002.png")
    assert read_provenance(frames).output_matches is False


def test_paths_of_the_machine_are_not_told(stage: Any) -> None:
    path = made(stage, "x.mp4", stage.clip(frames=2))
    assert str(stage.out.parent) not in sidecar_path(path).read_text(encoding="utf-8")
    assert str(stage.out.parent).encode() not in path.read_bytes()


def test_foreign_files_have_no_provenance(stage: Any) -> None:
    found = read_provenance(stage.source)
    assert (found.metadata, found.sidecar, found.output_matches) == ({}, None, None)
    sidecar_path(stage.source).write_text(json.dumps(["not ours"]))
    with pytest.raises(InputError, match="not a sidecar"):
        read_provenance(stage.source)
    with pytest.raises(InputError, match="no such file"):
        read_provenance(stage.folder / "nowhere.png")
