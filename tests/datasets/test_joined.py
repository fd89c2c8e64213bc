"""Several datasets as one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reenact_zoo.data.pairs import PairRule, draw_pairs
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.celebdf import Celebdf, CelebdfConfig
from reenact_zoo.datasets.joined import Joined, JoinedConfig
from reenact_zoo.types import InputError


@pytest.fixture
def root(fake_tree: Callable[[str], Path], tmp_path: Path) -> Path:
    """A folder with a link for each of two datasets."""
    for name in ("ffpp", "celebdf"):
        (tmp_path / name).symlink_to(fake_tree(name))
    return tmp_path


def joined(root: Path, **parts: object) -> Joined:
    return Joined(JoinedConfig(str(root), parts or {"ffpp": {}, "celebdf": {}}))


def test_clips_and_people_carry_the_name_of_their_part(root: Path) -> None:
    dataset = joined(root)
    clip = dataset.clip("celebdf:Celeb-real/id5_0001")
    assert (clip.identity, clip.split) == ("celebdf:id5", "test")
    assert dataset.clip("ffpp:youtube/953").identity == "ffpp:953"
    own = Celebdf(CelebdfConfig(str(root / "celebdf")))
    np.testing.assert_array_equal(
        dataset.frame(FrameRef("celebdf:Celeb-real/id5_0001", 2)), own.frame(FrameRef("Celeb-real/id5_0001", 2))
    )


def test_a_rule_draws_sources_from_one_and_drivers_from_the_other(root: Path) -> None:
    rule = PairRule(frames=1, split="test", source="celebdf:Celeb-real/*", driving="ffpp:*")
    pairs = draw_pairs(joined(root), "cross", rule)
    assert {p.source.clip for p in pairs} == {f"celebdf:Celeb-real/{n}" for n in ("id5_0000", "id5_0001", "id8_0003")}
    assert {p.driving.clip for p in pairs} == {"ffpp:youtube/953", "ffpp:youtube/974"}


def test_what_is_missing_or_misspelt_is_said(root: Path) -> None:
    with pytest.raises(InputError, match="no parts given"):
        Joined()
    with pytest.raises(InputError, match="voxceleb' is missing; give a root with a folder"):
        joined(root, voxceleb={})
    with pytest.raises(InputError, match="did you mean 'compression'"):
        joined(root, ffpp={"compresion": "raw"})
    with pytest.raises(InputError, match="names begin with one of ffpp, celebdf"):
        joined(root).frame(FrameRef("youtube/953", 0))
