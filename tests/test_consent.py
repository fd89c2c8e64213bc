from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reenact_zoo.consent import (
    TERMS,
    Removals,
    accept_terms,
    acknowledgement_file,
    carry_terms,
    require_terms,
    terms_problem,
)
from reenact_zoo.registry import DATASETS
from reenact_zoo.types import InputError

Tree = Callable[[str], Path]
READERS = {
    "ffpp": ("ffpp", "youtube/071", "071"),
    "celebdf": ("celebdf", "Celeb-real/id0_0000", "id0"),
    "voxceleb": ("voxceleb_official", "id10001/FakeVideo01/00001", "id10001"),
    "talkinghead1kh": ("talkinghead1kh", "--FakeVid13_0000_S0_E4_L502_T49_R1046_B593", "--FakeVid13"),
    "clips": ("talkinghead1kh", "train/cropped_clips/--FakeVid13_0000_S0_E4_L502_T49_R1046_B593", "val"),
}


@pytest.mark.parametrize("name", sorted(TERMS))
def test_a_gated_reader_refuses_until_its_terms_are_accepted(own_tree: Tree, name: str) -> None:
    root = own_tree(READERS[name][0])
    acknowledgement_file(name, root).unlink()
    dataset = DATASETS.get(name)(DATASETS.get(name).Config(root=str(root)))
    with pytest.raises(InputError, match=f"run: reenact-zoo data accept-terms {name} '{root}'"):
        _ = dataset.clips
    with pytest.raises(InputError, match="have not been accepted"):
        dataset.path(READERS[name][1])
    accept_terms(name, root)
    assert dataset.clips


def test_an_acknowledgement_names_the_version_and_another_version_is_asked_for_anew(tmp_path: Path) -> None:
    path = accept_terms("ffpp", tmp_path)
    content = json.loads(path.read_text())
    assert content["terms"] == TERMS["ffpp"].version
    assert content["address"].startswith("http")
    require_terms("ffpp", tmp_path)
    path.write_text(json.dumps({**content, "terms": "older"}))
    with pytest.raises(InputError, match=f"accepted were the terms 'older', now they are '{TERMS['ffpp'].version}'"):
        require_terms("ffpp", tmp_path)
    path.write_text("yes, all right")
    assert "not a readable acknowledgement" in terms_problem("ffpp", tmp_path)
    assert terms_problem("clips", tmp_path) == ""


def test_terms_are_those_of_one_dataset_and_travel_with_what_is_made_from_it(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    target.mkdir()
    accept_terms("ffpp", source)
    with pytest.raises(InputError, match="celebdf"):
        require_terms("celebdf", source)
    carry_terms("ffpp", source, target)
    require_terms("ffpp", target)
    with pytest.raises(InputError, match="accept-terms voxceleb"):
        carry_terms("voxceleb", source, target)
    carry_terms("clips", source, target)  # nothing to carry


def test_what_cannot_be_accepted_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'clips' has no terms to accept; those that have: celebdf, ffpp, voxceleb"):
        accept_terms("clips", tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        accept_terms("ffpp", tmp_path / "nowhere")


@pytest.mark.parametrize("name", sorted(READERS))
def test_every_reader_honours_a_removed_identity_and_a_removed_clip(own_tree: Tree, name: str) -> None:
    layout, clip, identity = READERS[name]
    root = own_tree(layout)
    cls = DATASETS.get(name)

    def names() -> set[str]:
        return {each.name for each in cls(cls.Config(root=str(root))).clips}

    before = names()
    assert clip in before
    (root / "removed.txt").write_text(f"# asked on Monday\n\nclip {clip}.mp4\n", encoding="utf-8")
    assert before - names() == {clip}
    (root / "removed.txt").write_text(f"identity {identity}\n", encoding="utf-8")
    dataset = cls(cls.Config(root=str(root)))
    assert identity not in {each.identity for each in dataset.clips}
    assert names() < before


def test_removing_a_person_removes_what_was_made_of_them(own_tree: Tree) -> None:
    root = own_tree("ffpp")
    (root / "removed.txt").write_text("identity 974\n")
    cls = DATASETS.get("ffpp")
    left = {clip.name for clip in cls(cls.Config(str(root), sequences=["youtube", "Face2Face", "Deepfakes"])).clips}
    assert not [name for name in left if "974" in name]
    assert "Face2Face/071_054" in left


def test_a_person_can_be_removed_by_name_where_the_reader_uses_codes(own_tree: Tree) -> None:
    root = own_tree("voxceleb_faces")
    (root / "removed.txt").write_text("identity Zoë_Example\n", encoding="utf-8")
    cls = DATASETS.get("voxceleb")
    assert "id10270" not in {clip.identity for clip in cls(cls.Config(str(root))).clips}


def test_one_list_can_serve_all_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "everybody.txt"
    shared.write_text("ffpp identity 071\nidentity anna maria\ncelebdf clip Celeb-real/id0_0000\nclip id1#-x#0#1.mp4\n")
    monkeypatch.setenv("REENACT_ZOO_REMOVED", str(shared))
    ffpp, celebdf = (Removals.load(tmp_path, name) for name in ("ffpp", "celebdf"))
    assert ffpp.identities == {"071", "anna maria"}
    assert celebdf.identities == {"anna maria"}
    assert celebdf.clips == {"Celeb-real/id0_0000", "id1#-x#0#1"}
    assert ffpp.removes("any", "b", "071")
    assert ffpp.removes("id1#-x#0#1", "b")
    assert not ffpp.removes("any", "b")


@pytest.mark.parametrize("line", ["071", "identity", "ffpp 071", "identty 071", "clip "])
def test_a_line_that_is_not_understood_stops_everything(tmp_path: Path, line: str) -> None:
    (tmp_path / "removed.txt").write_text(f"identity 1\n{line}\n")
    with pytest.raises(InputError, match="line 2: write 'identity NAME' or 'clip NAME'"):
        Removals.load(tmp_path, "ffpp")


def test_a_list_that_is_named_but_missing_stops_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_ZOO_REMOVED", str(tmp_path / "nowhere.txt"))
    with pytest.raises(InputError, match="cannot read the removal list"):
        Removals.load(tmp_path, "ffpp")
