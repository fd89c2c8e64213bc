"""The runner over a world with known answers: values, failures, blindness to the truth, honesty of the record."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_world import FakeMeasurer, Greys, Judged, Remembered

from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.evaluation.records import Record, read_records
from reenact_zoo.evaluation.runner import run, shared_measurer
from reenact_zoo.faces.detect import Detection
from reenact_zoo.faces.measure import FaceMeasurer
from reenact_zoo.types import InputError


def go(protocol: Any, method: str, out: Path, **options: Any) -> Record:
    options.setdefault("measurer", FakeMeasurer())
    return run(protocol, f"fake_world:{method}", out=out, progress=False, **options)


def column(record: Record, name: str) -> list[Any]:
    values: list[Any] = record.pair_values().column(name).to_pylist()
    return values


def test_values_match_the_closed_form(write_protocol: Any, tmp_path: Path) -> None:
    record = go(write_protocol(), "Source", tmp_path)
    table = record.pair_values().to_pydict()
    for source, driving, measured in zip(table["source"], table["driving"], table["metric:fake_world:ToTarget"]):
        levels = Greys.level(FrameRef.parse(source)), Greys.level(FrameRef.parse(driving))
        assert measured == pytest.approx(abs(levels[0] - sum(levels) // 2) / 255, abs=1e-6)  # float32 pixels
    assert record.num_pairs == 24
    assert record.metrics["fake_world:ToTarget"].n == 24
    mean = math.fsum(table["metric:fake_world:ToTarget"]) / 24
    assert record.metrics["fake_world:ToTarget"].mean == pytest.approx(mean)


@pytest.mark.parametrize("batch_size", [1, 5])
def test_the_batch_size_changes_nothing(write_protocol: Any, tmp_path: Path, batch_size: int) -> None:
    whole = go(write_protocol(), "Halfway", tmp_path / "whole", batch_size=24)
    split = go(write_protocol(), "Halfway", tmp_path / "split", batch_size=batch_size)
    assert whole.pair_values().equals(split.pair_values())
    assert whole.metrics == split.metrics


def test_no_method_sees_the_target(write_protocol: Any, tmp_path: Path) -> None:
    peeking = go(write_protocol(), "Peeking", tmp_path)
    honest = go(write_protocol(), "Source", tmp_path)
    assert column(peeking, "metric:fake_world:ToTarget") == column(honest, "metric:fake_world:ToTarget")
    assert min(column(peeking, "metric:fake_world:ToTarget")) > 0


def test_altering_the_truth_changes_no_estimated_run(write_protocol: Any, tmp_path: Path) -> None:
    """The output follows the estimate, whatever the dataset's own annotations say; with "oracle" it follows those."""
    values = {}
    for kind in ("estimated", "oracle"):
        for truth in (0.25, 0.75):
            protocol = write_protocol(dataset_annotation=truth, annotations=kind)
            record = go(protocol, "FromLandmarks", tmp_path / f"{kind}{truth}")
            values[kind, truth] = column(record, "metric:fake_world:Level")
            assert record.oracle == (kind == "oracle")
    assert values["estimated", 0.25] == values["estimated", 0.75]
    assert values["oracle", 0.25] == pytest.approx([0.25] * 24)
    assert values["oracle", 0.75] == pytest.approx([0.75] * 24)


def test_a_picture_with_nan_is_a_failure_with_its_reason(write_protocol: Any, tmp_path: Path) -> None:
    record = go(write_protocol(), "NaNOnBright", tmp_path)
    bright = [Greys.level(FrameRef.parse(text)) > 80 for text in column(record, "driving")]
    assert 0 < sum(bright) < 24
    assert [status == "failed" for status in column(record, "status")] == bright
    assert record.failures == {"the reenacted picture contains NaN": sum(bright)}
    assert record.metrics["fake_world:ToTarget"].n == 24 - sum(bright)
    assert record.metrics["fake_world:ToTarget"].missing == 0
    assert record.detection_rate == pytest.approx(1 - sum(bright) / 24)


def test_no_metric_sees_half_a_picture(write_protocol: Any, tmp_path: Path) -> None:
    record = go(write_protocol(metrics=["fake_world:Corner"]), "NaNInTheLastPixel", tmp_path)
    assert record.num_failed == record.num_pairs
    assert record.metrics["fake_world:Corner"].n == 0


def test_what_a_method_requires_is_hidden_from_the_metrics(write_protocol: Any, tmp_path: Path) -> None:
    record = go(write_protocol(metrics=["fake_world:Annotations"]), "FromLandmarks", tmp_path)
    assert record.metrics["fake_world:Annotations"].mean == 0


def test_an_exception_is_blamed_on_its_pair_alone(write_protocol: Any, tmp_path: Path) -> None:
    record = go(write_protocol(), "RaisesOnBright", tmp_path, batch_size=7)
    bright = [Greys.level(FrameRef.parse(text)) > 90 for text in column(record, "driving")]
    assert [status == "failed" for status in column(record, "status")] == bright
    assert record.failures == {"RuntimeError: too bright": sum(bright)}


def test_a_method_that_fails_on_every_pair_is_a_bug_not_a_result(write_protocol: Any, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="a bug"):
        go(write_protocol(), "AlwaysRaises", tmp_path)
    assert read_records(tmp_path) == []


def test_interruption_leaves_no_record(write_protocol: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(write_protocol(), "Interrupted", tmp_path)
    assert read_records(tmp_path) == []


def test_an_unreadable_frame_fails_its_pairs_and_the_run_goes_on(write_protocol: Any, tmp_path: Path) -> None:
    record = go(write_protocol(dataset_broken_frame=3), "Source", tmp_path)
    broken = [text.endswith("@3") for text in column(record, "driving")]
    assert sum(broken) == record.num_failed > 0
    assert all(reason.startswith("cannot be read: frame") for reason in record.failures)
    assert record.detection_rate == 1.0  # nothing was asked of the method there


def test_no_face_in_a_frame_is_named_as_the_reason(write_protocol: Any, tmp_path: Path) -> None:
    protocol = write_protocol(dataset_clips=5)  # clip 4 is brighter than the fake detector can see
    record = go(protocol, "FromLandmarks", tmp_path)
    assert set(record.failures) == {"no face found in source"}
    blind = [text.startswith("c4") for text in column(record, "source")]
    assert [status == "failed" for status in column(record, "status")] == blind


def test_unavailable_and_inapplicable_metrics_say_why(write_protocol: Any, tmp_path: Path) -> None:
    metrics = go(write_protocol(), "Source", tmp_path).metrics
    assert metrics["fake_world:Smile"].unavailable == "needs smile.weights (3 MB, MIT)"
    assert metrics["fake_world:Closeness"].not_applicable == "defined for self pairs only"
    assert metrics["fake_world:Smile"].mean is metrics["fake_world:Closeness"].mean is None
    blind = go(write_protocol(dataset_truth=False), "Source", tmp_path).metrics
    assert "nobody knows" in blind["fake_world:ToTarget"].not_applicable


def test_limit_marks_the_record_partial(write_protocol: Any, tmp_path: Path) -> None:
    assert go(write_protocol(), "Source", tmp_path, limit=5).partial
    assert not go(write_protocol(), "Source", tmp_path, limit=24).partial


def test_a_record_comes_back_as_it_was_written(write_protocol: Any, tmp_path: Path) -> None:
    record = go(write_protocol(setting="self"), "Source", tmp_path)
    assert read_records(tmp_path) == [record]
    assert record.conditions.seconds >= record.conditions.method_seconds >= 0
    assert record.conditions.versions["torch"] == torch.__version__


def test_pictures_are_kept_for_the_same_pairs_of_every_method(write_protocol: Any, tmp_path: Path) -> None:
    first = go(write_protocol(), "Source", tmp_path)
    second = go(write_protocol(), "NaNOnBright", tmp_path)
    assert [pair.pair_id for pair in first.gallery] == [pair.pair_id for pair in second.gallery]
    assert [pair.source for pair in first.gallery] == [pair.source for pair in second.gallery]
    for pair in first.gallery:
        for path in (pair.source, pair.driving, pair.truth, pair.reenacted):
            assert (tmp_path / path).stat().st_size > 0
    failed = {i for i, s in zip(column(second, "pair_id"), column(second, "status")) if s == "failed"}
    assert {pair.pair_id for pair in second.gallery if not pair.reenacted} == failed


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("Trained", {}, "has to be trained: give its weights"),
        ("Source", {"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
        ("Source", {"device": "toaster"}, "device 'toaster' cannot be used"),
        ("Source", {"checkpoint": Path("none.ckpt")}, "no checkpoint file"),
        ("Surce", {}, "cannot load 'fake_world:Surce'"),
    ],
)
def test_mistakes_are_named(
    write_protocol: Any, tmp_path: Path, method: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        go(write_protocol(), method, tmp_path, **options)


def test_an_output_folder_that_cannot_be_written_is_named(write_protocol: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot write pictures"):
        go(write_protocol(), "Source", tmp_path / "file")


def test_a_dataset_that_lies_with_the_user_asks_for_its_folder(write_protocol: Any, tmp_path: Path) -> None:
    protocol = write_protocol(dataset={"name": "clips", "config": {}})
    with pytest.raises(InputError, match="--root FOLDER"):
        go(protocol, "Source", tmp_path)


# --- judges and what they remember ------------------------------------------------------------------------------------


def test_a_method_is_never_measured_by_the_judge_it_was_trained_with(write_protocol: Any, tmp_path: Path) -> None:
    method = Judged()
    honest = method.save_weights(tmp_path / "honest.safetensors")
    method.instruments = ("detected_judge",)
    trained = method.save_weights(tmp_path / "trained.safetensors")
    assert Judged.load(trained).instruments == ("detected_judge",)
    protocol = write_protocol(metrics=["fake_world:Level", "detection_rate"])
    with pytest.raises(
        InputError, match="trained with 'detected_judge', which is the judge of metric 'detection_rate'"
    ):
        go(protocol, "Judged", tmp_path / "out", checkpoint=trained)
    assert not (tmp_path / "out").exists(), "refused before the first pair"
    assert go(protocol, "Judged", tmp_path / "out", checkpoint=honest).metrics["fake_world:Level"].n == 24
    others = write_protocol(metrics=["fake_world:Level"])
    assert go(others, "Judged", tmp_path / "others", checkpoint=trained).metrics["fake_world:Level"].n == 24


class CountingDetector:
    """Finds one face in every picture, whose box fills it; counts the pictures."""

    name, min_face_px = "counting", 8

    def __init__(self) -> None:
        self.seen = 0

    def detect(self, image: Any) -> list[Detection]:
        self.seen += 1
        return [Detection((0.0, 0.0, float(image.shape[1]), float(image.shape[0])), 1.0)]


def test_a_second_benchmark_runs_no_instrument_on_source_and_driving(write_protocol: Any, tmp_path: Path) -> None:
    protocol = write_protocol(metrics=["detection_rate", "fake_world:BothDetected"])

    results = iter(range(9))

    def seen_by(method: str, folder: str) -> int:
        detector = CountingDetector()
        measurer = FaceMeasurer(cache=tmp_path / folder, detector=detector)
        out = tmp_path / f"out{next(results)}"  # elsewhere each time: nothing is taken from earlier cells
        assert go(protocol, method, out, measurer=measurer).metrics["fake_world:BothDetected"].mean == 1
        return detector.seen

    first = seen_by("Halfway", "shared")
    frames = 3 * 4  # clips x frames: all are used as source or driving
    assert first > frames
    assert seen_by("Halfway", "shared") == 0, "the reenacted pictures are the same too"
    assert seen_by("Source", "shared") == 0, "a source is known already"
    rehearsed = 3  # flat greys that tell which picture a metric asks about: two of it, one of detection_rate
    assert seen_by("Source", "alone") == frames + rehearsed


def test_the_default_measurer_keeps_its_results_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path / "one"))
    first = shared_measurer()
    assert shared_measurer() is first
    first.measure("detected", torch.zeros(1, 3, 32, 32))
    assert list((tmp_path / "one" / "measured").iterdir())
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path / "two"))
    assert shared_measurer() is not first


# --- rows: seeds, labels, pictures that do not pile up ----------------------------------------------------------------


def test_random_numbers_depend_on_the_seed_alone(write_protocol: Any, tmp_path: Path) -> None:
    first = go(write_protocol(), "Noisy", tmp_path / "a", batch_size=5)
    again = go(write_protocol(), "Noisy", tmp_path / "b", batch_size=5)
    other = go(write_protocol(), "Noisy", tmp_path / "a", batch_size=5, seed=1)
    assert column(first, "metric:fake_world:Level") == column(again, "metric:fake_world:Level")
    assert column(first, "metric:fake_world:Level") != column(other, "metric:fake_world:Level")
    assert [(record.seed, record.stem) for record in read_records(tmp_path / "a")] == [
        (0, "greys_cross.fake_world-Noisy"),
        (1, "greys_cross.fake_world-Noisy.seed1"),
    ]


def test_a_label_makes_a_row_of_its_own_with_other_settings(write_protocol: Any, tmp_path: Path) -> None:
    go(write_protocol(), "Shifted", tmp_path)
    record = go(write_protocol(), "Shifted", tmp_path, label="shifted by 0.5", changes={"by": 0.5})
    plain, labelled = read_records(tmp_path)
    assert (plain.title, labelled.title) == ("fake_world:Shifted", "shifted by 0.5")
    assert record.config == {"by": 0.5}
    assert min(column(labelled, "metric:fake_world:Level")) >= 0.5 > min(column(plain, "metric:fake_world:Level"))


def test_no_picture_outlives_its_batch(write_protocol: Any, tmp_path: Path) -> None:
    Remembered.alive.clear()
    go(write_protocol(), "Remembered", tmp_path, batch_size=4)
    assert Remembered.alive == [0, 0, 0, 0, 0, 0], "pictures of earlier batches, counted at each call"


def test_a_bound_sees_the_truth_and_says_so(write_protocol: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"progress": False, "measurer": FakeMeasurer()}
    record = run(write_protocol(), "bound:blur_ceiling", out=tmp_path, **options)
    assert record.bound
    assert record.metrics["fake_world:ToTarget"].mean == pytest.approx(0, abs=1e-6)  # flat pictures have no detail
    with pytest.raises(InputError, match="does not apply"):
        run(write_protocol(dataset_truth=False), "bound:blur_ceiling", out=tmp_path, **options)


# --- lost faces -------------------------------------------------------------------------------------------------------


def test_a_lost_face_is_counted_on_the_side_that_lost_it(write_protocol: Any, tmp_path: Path) -> None:
    """The fake detector is blind above 0.6; a brightened picture loses its face, clip 4 has none to begin with."""
    protocol = write_protocol(metrics=["fake_world:FaceLevel", "fake_world:Level"], dataset_clips=5)
    record = go(protocol, "Brightened", tmp_path)
    pictures = [Greys.level(FrameRef.parse(text)) / 255 for text in column(record, "source")]
    drivings = [Greys.level(FrameRef.parse(text)) / 255 for text in column(record, "driving")]
    made = [min(1.0, level + 0.2) for level in pictures]
    names = {(True, True): "found", (False, True): "lost", (True, False): "reference lost", (False, False): "both lost"}
    expected = [names[own < 0.6, driving < 0.6] for own, driving in zip(made, drivings, strict=True)]
    assert set(expected) == set(names.values())
    assert column(record, "faces:fake_world:FaceLevel") == expected
    result = record.metrics["fake_world:FaceLevel"]
    assert (result.lost, result.n_found) == (expected.count("lost"), expected.count("found"))
    assert result.lost_reference == sum(driving >= 0.6 for driving in drivings)
    shown = expected.count("found") + expected.count("lost")
    assert result.detection_rate == pytest.approx(expected.count("found") / shown)
    found = [abs(own - d) for own, d, state in zip(made, drivings, expected, strict=True) if state == "found"]
    assert result.mean == result.mean_found == pytest.approx(math.fsum(found) / len(found))
    penalised = (math.fsum(found) + 1.0 * expected.count("lost")) / shown  # the card's penalty is 1
    assert result.mean_penalised == pytest.approx(penalised)
    blind = record.metrics["fake_world:Level"]
    assert (blind.detection_rate, blind.lost, blind.mean_found) == (None, 0, None)


def test_a_pair_without_a_picture_has_lost_its_face(write_protocol: Any, tmp_path: Path) -> None:
    record = go(write_protocol(metrics=["fake_world:FaceLevel"]), "NaNOnBright", tmp_path)
    assert record.metrics["fake_world:FaceLevel"].lost == record.num_failed > 0


# --- metrics of all pairs together ------------------------------------------------------------------------------------


def test_a_metric_of_the_whole_set_has_a_value_and_no_interval(write_protocol: Any, tmp_path: Path) -> None:
    record = go(write_protocol(metrics=["fake_world:Spread", "fake_world:Rank"]), "Source", tmp_path, batch_size=5)
    levels = [Greys.level(FrameRef.parse(text)) / 255 for text in column(record, "source")]
    spread = record.metrics["fake_world:Spread"]
    assert spread.mean == pytest.approx(max(levels) - min(levels))
    assert (spread.n, spread.low, spread.card["about"]) == (24, None, {"lowest": pytest.approx(min(levels))})
    assert column(record, "metric:fake_world:Rank") == [sum(other < own for other in levels) for own in levels]
    assert record.metrics["fake_world:Rank"].low is not None
    assert read_records(tmp_path)[0].metrics["fake_world:Rank"].mean == record.metrics["fake_world:Rank"].mean


def test_what_a_method_gives_beside_the_picture_reaches_the_metrics_that_ask(
    write_protocol: Any, tmp_path: Path
) -> None:
    protocol = write_protocol(metrics=["fake_world:AuxLevel"])
    assert go(protocol, "WithAux", tmp_path).metrics["fake_world:AuxLevel"].mean == 0.25
    assert go(protocol, "Source", tmp_path).metrics["fake_world:AuxLevel"].not_applicable == "the method gives no map"
