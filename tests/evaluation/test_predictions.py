"""Pictures from elsewhere: scored as if made here; what is missing, broken or misshapen shows."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_world import FakeMeasurer, Greys, Level
from numpy.typing import NDArray
from typer.testing import CliRunner

from reenact_zoo.cli import app
from reenact_zoo.data.crops import CroppedClips, CropSpec
from reenact_zoo.data.pairs import Pair
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.evaluation.predictions import Rendered, clip_id, file_name, row_name
from reenact_zoo.evaluation.protocol import Protocol
from reenact_zoo.evaluation.records import Record, read_records
from reenact_zoo.evaluation.runner import build_dataset, run
from reenact_zoo.faces.align import CropPolicy
from reenact_zoo.faces.detect import Detection
from reenact_zoo.serving.animate import Instruments, animate
from reenact_zoo.types import InputError
from reenact_zoo.video.read import read_frames
from reenact_zoo.video.write import VideoWriter, write_image

SIZE = 16
VALUES = ["fake_world:ToTarget", "fake_world:Level", "fake_world:Corner"]


class Noise(Greys):
    """Every frame has pixels of its own."""

    def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        return np.random.default_rng(self.level(ref)).integers(0, 140, (SIZE, SIZE, 3), np.uint8)


@pytest.fixture
def protocol(write_protocol: Any) -> Protocol:
    made: Protocol = write_protocol(dataset={"name": "test_predictions:Noise", "config": {}}, metrics=VALUES)
    return made


def go(protocol: Protocol, method: str, out: Path, **options: Any) -> Record:
    return run(protocol, method, out=out, progress=False, measurer=FakeMeasurer(), **options)


def score(protocol: Protocol, place: Path, out: Path, layout: str = "auto", **options: Any) -> Record:
    return go(protocol, "", out, predictions=Rendered(place, layout), **options)


def columns(record: Record, names: Sequence[str] = VALUES) -> dict[str, list[float]]:
    table = record.pair_values()
    return {name: table.column(f"metric:{name}").to_pylist() for name in names}


def pairs_of(protocol: Protocol) -> list[Pair]:
    return protocol.select_pairs(build_dataset(protocol, None))


def save(protocol: Protocol, folder: Path, make: Callable[[Pair], NDArray[np.uint8]] | None = None) -> list[Path]:
    """A picture for every pair, named after it; the source if not told otherwise."""
    folder.mkdir(exist_ok=True)
    dataset = build_dataset(protocol, None)
    paths = []
    for pair in protocol.select_pairs(dataset):
        paths.append(folder / f"{file_name(pair.pair_id)}.png")
        write_image(paths[-1], make(pair) if make else dataset.frame(pair.source))
    return paths


@pytest.mark.parametrize(("method", "most"), [("copy_source", 0.0), ("copy_driving", 0.0), ("fake_world:Halfway", 0.5)])
def test_saved_outputs_of_a_method_score_as_the_method_does(
    protocol: Protocol, tmp_path: Path, method: str, most: float
) -> None:
    """Exactly where its pictures have 8 bits; else the pixels are off by half a level at most, and so are the means."""
    direct = go(protocol, method, tmp_path / "direct")
    lines = [(shown.pair_id, f"direct/{shown.reenacted}", "") for shown in direct.gallery]
    assert len(lines) == direct.num_pairs  # the report keeps lossless pictures of so few and so small pairs
    path = write_list(tmp_path / "list.csv", lines)
    scored = score(protocol, path, tmp_path / "scored")
    for name, values in columns(direct).items():
        np.testing.assert_allclose(columns(scored)[name], values, rtol=0, atol=most / 255 + 1e-9 * (most > 0))
    if not most:
        assert scored.metrics == direct.metrics
    assert scored.detection_rate == direct.detection_rate
    assert (scored.num_failed, scored.config["missing"], scored.config["resized"]) == (0, 0, {})


def write_list(path: Path, lines: Sequence[tuple[object, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("pair_id", "file", "frame")[: len(lines[0])], *lines])
    return path


class WholeFrame:
    """Face instruments whose face fills the picture in such a way that ``animate`` takes the whole of it."""

    name, min_face_px = "whole", 4

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        blind = image[0, 0, 0] == 255
        return [] if blind else [Detection((2.0, 2.0, 14.0, 14.0), 1.0)]

    def detect_scored(self, image: NDArray[np.uint8], boxes: Any, **_: Any) -> tuple[Any, Any]:
        policy, angle = CropPolicy(), np.linspace(0, 2 * np.pi, 69)[:-1]
        radius, middle = SIZE / policy.scale / 2, (SIZE - 1) / 2
        x, y = middle + radius * np.cos(angle), middle - 2 * policy.shift_y * radius + radius * np.sin(angle)
        points = np.repeat(np.stack([x, y], -1)[None].astype(np.float32), len(boxes), 0)
        return points, np.full(len(boxes), 0.0 if not self.detect(image) else 1.0, np.float32)


def animated(protocol: Protocol, folder: Path, method: str, *, blind: int = -1, **options: Any) -> Path:
    """Every (source frame, driving clip) of the protocol by ``animate``; driving frame ``blind`` shows no face."""
    dataset, done = build_dataset(protocol, None), folder / "done"
    done.mkdir(parents=True)
    for pair in {clip_id(pair): pair for pair in protocol.select_pairs(dataset)}.values():
        name = file_name(clip_id(pair))
        write_image(source := folder / f"{name}.png", dataset.frame(pair.source))
        (driving := folder / name).mkdir()
        for index in range(dataset.clip(pair.driving.clip).num_frames):
            frame = np.array(dataset.frame(FrameRef(pair.driving.clip, index)))
            frame[0, 0] = 255 if index == blind else frame[0, 0]
            write_image(driving / f"{index:03}.png", frame)
        seen = Instruments(WholeFrame(), WholeFrame())  # type: ignore[arg-type]
        animate(source, driving, done / name, method=method, size=SIZE, instruments=seen, progress=False, **options)
    return done


@pytest.mark.parametrize("method", ["copy_source", "copy_driving"])
def test_frames_that_animate_wrote_score_as_the_direct_evaluation(
    protocol: Protocol, tmp_path: Path, method: str
) -> None:
    scored = score(protocol, animated(protocol, tmp_path / "made", method), tmp_path / "scored")
    direct = go(protocol, method, tmp_path / "direct")
    assert scored.metrics == direct.metrics
    assert columns(scored) == columns(direct)
    assert scored.config["layout"] == "names"


@pytest.mark.parametrize(("policy", "word"), [("hold", "held"), ("skip", "skipped")])
def test_a_frame_that_animate_could_not_make_is_a_failed_pair(
    protocol: Protocol, tmp_path: Path, policy: str, word: str
) -> None:
    done = animated(protocol, tmp_path / "made", "copy_driving", blind=1, no_face=policy)
    scored, direct = score(protocol, done, tmp_path / "a"), go(protocol, "copy_driving", tmp_path / "b")
    blind = [pair.driving.index == 1 for pair in pairs_of(protocol)]
    assert 0 < sum(blind) == scored.num_failed < scored.num_pairs
    (reason,) = scored.failures
    assert word in reason
    for name, values in columns(direct).items():  # the frames behind a skipped one are not taken for others
        assert columns(scored)[name] == [None if lost else value for lost, value in zip(blind, values)]


def test_missing_pairs_are_failures_with_a_reason_and_told(
    protocol: Protocol, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = save(protocol, tmp_path / "theirs")
    ids = [pair.pair_id for pair in pairs_of(protocol)]
    paths[3].unlink()
    paths[7].rename(tmp_path / "theirs" / "misspelt.png")
    record = score(protocol, tmp_path / "theirs", tmp_path / "out")
    status, reasons = (record.pair_values().column(name).to_pylist() for name in ("status", "reason"))
    assert [i for i, word in enumerate(status) if word == "failed"] == [3, 7]
    assert reasons[3].startswith("no picture for pair")
    assert (record.num_failed, record.num_pairs, record.metrics[VALUES[1]].n) == (2, 24, 22)
    assert record.detection_rate == pytest.approx(22 / 24)
    assert record.config["missing_pairs"] == [ids[3], ids[7]]
    told = capsys.readouterr().err
    assert f"2 of 24 pairs have no picture and count as failed: {ids[3]}, {ids[7]}" in told
    assert "1 files belong to no pair" in told
    assert record.conditions.frames_per_s is None  # reading is not reenacting


def test_a_folder_without_any_of_the_pictures_is_refused(protocol: Protocol, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no picture of any of the 24 pairs .*'c0@0_c1@0.png'.*'c0@0_c1.mp4'"):
        score(protocol, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="check the path"):
        score(protocol, tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(InputError, match=r"unknown layout of pictures 'cvs'.*csv"):
        score(protocol, tmp_path / "empty", tmp_path / "out", "cvs")
    assert read_records(tmp_path) == []


def test_other_square_sizes_are_resized_and_noted(protocol: Protocol, tmp_path: Path) -> None:
    def doubled(pair: Pair) -> NDArray[np.uint8]:
        frame = build_dataset(protocol, None).frame(pair.source)
        return frame if pair.driving.index else frame.repeat(2, 0).repeat(2, 1)

    save(protocol, tmp_path / "theirs", doubled)
    record = score(protocol, tmp_path / "theirs", tmp_path / "out")
    large = sum(not pair.driving.index for pair in pairs_of(protocol))
    assert record.config["resized"] == {"32 to 16 pixels": large}
    assert columns(record) == columns(go(protocol, "copy_source", tmp_path / "direct"))  # 2x2 equal pixels average out


def test_another_shape_is_refused_with_one_line(protocol: Protocol, tmp_path: Path) -> None:
    paths = save(protocol, tmp_path / "theirs")
    write_image(paths[5], np.zeros((16, 24, 3), np.uint8))
    with pytest.raises(InputError, match=r"'.*c.@0_c.@.\.png' is 24x16: .* square pictures of 16x16") as error:
        score(protocol, tmp_path / "theirs", tmp_path / "out")
    assert "\n" not in str(error.value)


def test_a_broken_file_fails_its_pair_alone(protocol: Protocol, tmp_path: Path) -> None:
    paths = save(protocol, tmp_path / "theirs")
    paths[2].write_bytes(b"no picture at all")
    paths[9].write_bytes(paths[9].read_bytes()[:120])  # its header is whole
    record = score(protocol, tmp_path / "theirs", tmp_path / "out")
    reasons = record.pair_values().column("reason").to_pylist()
    assert [i for i, reason in enumerate(reasons) if reason] == [2, 9]
    assert all("its picture cannot be read" in reasons[i] for i in (2, 9))


def test_what_changed_is_scored_anew_and_nothing_else(protocol: Protocol, tmp_path: Path) -> None:
    paths = save(protocol, tmp_path / "theirs")
    before = columns(score(protocol, tmp_path / "theirs", tmp_path / "out"))
    Level.computed = 0
    (tmp_path / "theirs").rename(tmp_path / "moved")
    (tmp_path / "moved" / "notes.png").write_bytes(b"")
    assert columns(score(protocol, tmp_path / "moved", tmp_path / "out", label="theirs")) == before
    assert Level.computed == 0
    white = np.full((SIZE, SIZE, 3), 255, np.uint8)
    write_image(tmp_path / "moved" / paths[4].name, white)
    after = columns(score(protocol, tmp_path / "moved", tmp_path / "out", label="theirs"))
    assert [i for i, (a, b) in enumerate(zip(after[VALUES[1]], before[VALUES[1]])) if a != b] == [4]
    assert after[VALUES[1]][4] == 1.0


def test_a_list_may_name_frames_of_clips(protocol: Protocol, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "all.mp4", 25, (SIZE, SIZE), crf=1) as writer:  # type: ignore[arg-type]
        for level in range(24):
            writer.write(np.full((SIZE, SIZE, 3), 10 * level, np.uint8))
    ids = [pair.pair_id for pair in pairs_of(protocol)]
    lines = [(name, "all.mp4", 23 - i) for i, name in enumerate(ids)]
    write_list(tmp_path / "predictions.csv", [*lines[:-1], (ids[-1], "all.mp4", 24), ("other", "all.mp4", 0)])
    record = score(protocol, tmp_path, tmp_path / "out")
    levels = columns(record)[VALUES[1]]
    np.testing.assert_allclose(levels[:-1], [10 * (23 - i) / 255 for i in range(23)], atol=2 / 255)
    assert levels[-1] is None
    assert "has the frames 0 to 23, not 24" in next(iter(record.failures))
    assert (record.config["layout"], record.config["unused"]) == ("csv", 1)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([("x", "a.png", ""), ("x", "b.png", "")], "line 3: pair_id 'x' appears twice"),
        ([("x", "", "")], "line 2: pair_id or file is empty"),
        ([("x", "a.png", "-1")], "line 2: frame is a number from 0 on, not '-1'"),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(
    protocol: Protocol, tmp_path: Path, lines: list[tuple[str, str, str]], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        score(protocol, write_list(tmp_path / "list.csv", lines), tmp_path / "out")


def test_two_files_of_one_name_are_refused(protocol: Protocol, tmp_path: Path) -> None:
    paths = save(protocol, tmp_path / "theirs")
    write_image(paths[0].with_suffix(".jpg"), np.zeros((SIZE, SIZE, 3), np.uint8))
    with pytest.raises(InputError, match="are called alike"):
        score(protocol, tmp_path / "theirs", tmp_path / "out")


# --- FaceForensics++ --------------------------------------------------------------------------------------------------


class MiddleFace:
    """A face off the middle, whose size tells two originals apart."""

    name, min_face_px = "middle", 4

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        half = 8 + float(image[0].mean()) / 64
        return [Detection((30 - half, 28 - half, 30 + half, 28 + half), 1.0)]


@pytest.mark.parametrize(("kind", "swapped"), [("Face2Face", False), ("Deepfakes", True)])
def test_manipulated_sequences_are_ready_rows(
    write_protocol: Any,
    fake_tree: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    swapped: bool,
) -> None:
    """<target>_<source>: a reenactment keeps who is the source here, a swap the video of whom drives here."""
    monkeypatch.setattr("reenact_zoo.faces.detect.default_detector", MiddleFace)
    root = fake_tree("ffpp")
    protocol = write_protocol(
        dataset={"name": "ffpp", "config": {"compression": "c23", "split": "official"}},
        pair_rule={"frames": 2, "split": "test"},
        crop={"policy": "face", "scale": 2.0},
        resolution=32,
        metrics=VALUES[1:],
    )
    folder = root / "manipulated_sequences" / kind
    record = score(protocol, folder, tmp_path, root=root, label=kind)
    crops = CroppedClips(dataset := build_dataset(protocol, root), CropSpec("face", 2.0, size=32), MiddleFace)
    expected = []
    for pair in protocol.select_pairs(dataset):
        who, motion = (ref.clip.removeprefix("youtube/") for ref in (pair.source, pair.driving))
        target, source = (motion, who) if swapped else (who, motion)
        (frame,) = read_frames(folder / "c23" / "videos" / f"{target}_{source}.mp4", [pair.driving.index])
        with monkeypatch.context() as patch:  # as if the frame were one of the original that it was made from
            patch.setattr(dataset, "frame", lambda ref, frame=frame: frame)
            crops.boxes.setdefault(f"youtube/{target}", box_of(root, f"youtube/{target}"))
            expected.append(float(crops.pixels(FrameRef(f"youtube/{target}", 0)).mean() / 255))
    assert record.num_failed == 0
    assert len(set(expected)) == record.num_pairs == 4
    np.testing.assert_allclose(columns(record, VALUES[1:2])[VALUES[1]], expected, atol=1e-6)
    assert record.config["layout"] == ("ffpp_swapped" if swapped else "ffpp_reenacted")
    assert record.title == kind
    assert record.method == f"pred:{kind}"


def box_of(root: Path, clip: str) -> Any:
    from reenact_zoo.datasets.ffpp import Ffpp, FfppConfig

    return CroppedClips(Ffpp(FfppConfig(str(root))), CropSpec("face", 2.0, size=32), MiddleFace).box(clip)


def test_pairs_that_nobody_manipulated_are_failures(write_protocol: Any, own_tree: Any, tmp_path: Path) -> None:
    root = own_tree("ffpp")
    (root / "manipulated_sequences/Face2Face/c23/videos/953_974.mp4").unlink()
    protocol = write_protocol(
        dataset={"name": "ffpp", "config": {}}, pair_rule={"frames": 2, "split": "test"}, metrics=VALUES[1:]
    )
    record = score(protocol, root / "manipulated_sequences/Face2Face", tmp_path / "out", root=root)
    assert (record.num_pairs, record.num_failed) == (4, 2)
    assert all("nobody made this manipulated sequence" in reason for reason in record.failures)


# --- the command ------------------------------------------------------------------------------------------------------


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_the_command_scores_a_folder(protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reenact_zoo.evaluation.runner.shared_measurer", FakeMeasurer)
    monkeypatch.setattr("reenact_zoo.evaluation.report.write_report", lambda out: out)
    save(protocol, tmp_path / "theirs")
    out = ("--protocol", protocol.source, "--out", tmp_path / "out", "--limit", 3, "--quiet", "--no-tensorboard")
    done = call("copy_source", "--pred", tmp_path / "theirs", "--layout", "names", *out)
    assert done.exit_code == 0, done.output
    (record,) = read_records(tmp_path / "out")
    levels = [float(Noise().frame(pair.source).mean()) / 255 for pair in pairs_of(protocol)[:3]]
    assert record.metrics[VALUES[1]].mean == pytest.approx(sum(levels) / 3)
    assert record.partial
    assert record.title == "copy_source (pictures)"  # its record replaces none of the method's own


def test_a_row_is_called_after_its_folder_where_nothing_else_is_said() -> None:
    assert row_name(Rendered(Path("some/where/theirs")), "") == "theirs"
    assert row_name(Rendered(Path("list.csv")), "ours") == "ours"
    assert row_name(Rendered(Path("some/copy_source")), "") == "copy_source (pictures)"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--protocol", "synthetic_self_64"), "no method given"),
        (("copy_source",), "no protocol given"),
        (("copy_source", "synthetic_self_64", "--layout", "csv"), "give --pred too"),
        (("--pred", "x", "--protocol", "synthetic_self_64", "--set", "a=1"), "--checkpoint and --set"),
        (("copy_source", "synthetic_self_64", "--protocol", "synthetic_cross_64"), "two protocols"),
    ],
)
def test_contradicting_arguments_are_refused(arguments: tuple[str, ...], words: str) -> None:
    done = call(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr
