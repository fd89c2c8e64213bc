"""The motion model: human-like, bounded, and the same whatever is asked for beside it."""

from __future__ import annotations

import numpy as np
import pytest

from reenact_zoo.datasets._actions import ACTIONS, EMOTIONS, PHONES, activation
from reenact_zoo.datasets._motion import MAX_GAZE_DEG, MAX_ROTATION_DEG, Motion, move

RATE = 25.0


@pytest.fixture(scope="module")
def motions() -> list[Motion]:
    return [move(np.random.SeedSequence([7, k]), 100, RATE) for k in range(40)]


def column(motions: list[Motion], name: str) -> np.ndarray:
    return np.stack([m.actions[:, ACTIONS.index(name)] for m in motions])


def test_a_longer_clip_begins_like_a_shorter_one() -> None:
    short, long = (move(np.random.SeedSequence(3), frames, RATE) for frames in (40, 120))
    for name in ("rotation_deg", "position", "gaze_deg", "actions"):
        np.testing.assert_array_equal(getattr(short, name), getattr(long, name)[:40], err_msg=name)


def test_a_clip_of_one_frame_can_be_made() -> None:
    assert move(np.random.SeedSequence(3), 1, RATE).rotation_deg.shape == (1, 3)


def test_other_seeds_move_otherwise(motions: list[Motion]) -> None:
    first = np.stack([m.rotation_deg[:, 0] for m in motions])
    assert np.abs(np.corrcoef(first) - np.eye(len(first))).mean() < 0.5


def test_heads_turn_far_to_both_sides_and_stay_in_bounds(motions: list[Motion]) -> None:
    rotation = np.stack([m.rotation_deg for m in motions])
    assert (np.abs(rotation) <= MAX_ROTATION_DEG).all()
    low, high = np.percentile(rotation[..., 0], [3, 97])
    assert low < -40
    assert high > 40
    assert 0.3 < (np.abs(rotation[..., 0]) < 20).mean() < 0.8


def test_heads_move_no_faster_than_people_do(motions: list[Motion]) -> None:
    speed = np.abs(np.diff(np.stack([m.rotation_deg for m in motions]), axis=1)) * RATE
    assert speed[..., 0].max() < 400  # deg/s; quick voluntary turns reach about 300
    assert np.median(speed[..., 0]) < 30


def test_eyes_lead_and_then_counter_rotate(motions: list[Motion]) -> None:
    head = np.concatenate([np.diff(m.rotation_deg[:, 0]) for m in motions])
    eyes = np.concatenate([np.diff(m.gaze_deg[:, 0]) for m in motions])
    moving = np.abs(head) > 2  # more than 50 degrees a second
    assert np.corrcoef(head[moving], eyes[moving])[0, 1] < -0.2
    gaze = np.stack([m.gaze_deg for m in motions])
    assert (np.abs(gaze) <= MAX_GAZE_DEG).all()
    assert np.median(np.abs(gaze[..., 0])) < 8


def test_lids_close_fully_but_are_mostly_open(motions: list[Motion]) -> None:
    lids = column(motions, "eyeBlink_L")
    assert 0.02 < (lids > 0.8).mean() < 0.12
    assert (lids < 0.2).mean() > 0.75  # at rest they are a little lowered
    assert lids.min() > 0.05
    onsets = ((lids[:, 1:] > 0.5) & (lids[:, :-1] <= 0.5)).sum() / (lids.size / RATE / 60)
    assert 10 < onsets < 45  # a minute
    np.testing.assert_array_equal(lids, column(motions, "eyeBlink_R"))


def test_jaws_open_and_close_several_times_a_second(motions: list[Motion]) -> None:
    jaw = column(motions, "jawOpen")
    assert (jaw < 0.05).mean() > 0.2
    assert (jaw > 0.25).mean() > 0.05
    spectrum = np.abs(np.fft.rfft(jaw - jaw.mean(axis=1, keepdims=True), axis=1)) ** 2
    rates = np.fft.rfftfreq(jaw.shape[1], 1 / RATE)
    syllables = spectrum[:, (rates > 2) & (rates < 8)].sum() / spectrum.sum()
    assert syllables > 0.1  # energy where speech has it, beside the slow emotions
    voiced = spectrum[:, rates > 1].sum(axis=0)
    assert voiced.max() / voiced.sum() < 0.25  # no single sinusoid


def test_actions_are_activations_that_a_face_can_make(motions: list[Motion]) -> None:
    actions = np.stack([m.actions for m in motions])
    assert actions.min() >= 0
    assert actions.max() <= 1
    assert (column(motions, "mouthClose") <= column(motions, "jawOpen") + 1e-12).all()
    assert (column(motions, "eyeWide_L") * (column(motions, "eyeBlink_L") > 0.99)).max() < 0.02
    used = actions.reshape(-1, len(ACTIONS)).max(axis=0) > 0.1
    assert used.sum() >= 38  # gaze turns the eyes by itself, so eyeLook is left alone


def test_phones_and_emotions_name_known_actions() -> None:
    assert len(ACTIONS) == len(set(ACTIONS)) == 53
    for parts in (*PHONES.values(), *EMOTIONS.values()):
        vector = activation(parts)
        assert vector.max() <= 1
        assert vector.sum() > 0
    np.testing.assert_array_equal(np.flatnonzero(activation({"jawOpen": 1.0})), [ACTIONS.index("jawOpen")])
