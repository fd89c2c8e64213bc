"""LD-Net: framing stays out of its codes, losses pull the right networks the right way, trainings can be resumed."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reenact_zoo.methods.ldnet_fdgan import landmark_shape, ld_losses
from reenact_zoo.methods.ldnet_fdgan.landmark_shape import framing_of, placed, shape_of
from reenact_zoo.methods.ldnet_fdgan.ld_losses import LDLossWeights, LDSupport
from reenact_zoo.methods.ldnet_fdgan.ld_net import Codes, LDNet
from reenact_zoo.methods.ldnet_fdgan.ld_training import (
    LandmarkTable,
    LDTrainer,
    LDTraining,
    load_ld_net,
    save_ld_net,
    seeded,
)
from reenact_zoo.methods.ldnet_fdgan.pca_transformer import PCATransformer
from reenact_zoo.methods.ldnet_fdgan.temporal import CodeSmoother
from reenact_zoo.testing.batches import place
from reenact_zoo.types import InputError

PEOPLE, FRAMES = 4, 8
TINY = LDTraining(width=32, pose_code=6, identity_code=4, stage1_updates=6, stage2_updates=6, batch=8, save_every=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def faces(count: int, seed: int = 0) -> Tensor:
    """(count, 68, 2) faces of differing place, size, tilt and proportions."""
    random = generator(seed)
    points = place(random, count)
    return points + 0.02 * torch.randn(points.shape, generator=random)


def table() -> LandmarkTable:
    """Four people of different proportions, eight frames each."""
    random = generator(3)
    own = 0.05 * torch.randn(PEOPLE, 1, 68, 2, generator=random)
    points = place(random, PEOPLE * FRAMES).unflatten(0, (PEOPLE, FRAMES)) + own
    identity = torch.arange(PEOPLE).repeat_interleave(FRAMES)
    return LandmarkTable(points.flatten(0, 1), identity, torch.arange(FRAMES).repeat(PEOPLE))


def networks(**changes: str) -> tuple[LDNet, LDSupport]:
    torch.manual_seed(0)
    net = LDNet(16, 6, 4)
    with torch.no_grad():  # a fresh encoder of pose and expression says the same of everybody
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return net, LDSupport(PEOPLE, 16, 6, 4, **changes)  # type: ignore[arg-type]


def pairs() -> tuple[Tensor, Tensor, Tensor]:
    known = table()
    return known.landmarks[::4], known.landmarks[1::4], known.identity[::4]


def moved(landmarks: Tensor) -> Tensor:
    """The same faces elsewhere and of another size."""
    return 0.6 * landmarks + torch.tensor([0.3, -0.2])


def gradients(network: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in network.parameters()]


# --- shape and framing --------------------------------------------------------------------------------------------


def test_shape_and_framing_give_the_landmarks_back() -> None:
    points = faces(5)
    framing = framing_of(points)
    torch.testing.assert_close(placed(shape_of(points, framing), framing), points, atol=1e-6, rtol=0)


def test_a_face_that_opens_its_mouth_keeps_its_framing() -> None:
    points = faces(3)
    opened = points.clone()
    opened[:, 55:60, 1] += 0.2
    opened[:, 5:12, 1] += 0.2
    torch.testing.assert_close(framing_of(opened), framing_of(points))


def test_place_and_size_reach_neither_code() -> None:
    net, _ = networks()
    here, there = net.codes(faces(3)), net.codes(moved(faces(3)))
    torch.testing.assert_close(here.identity, there.identity, atol=1e-4, rtol=0)
    torch.testing.assert_close(here.pose_expression, there.pose_expression, atol=1e-4, rtol=0)


def test_the_output_lies_where_the_driving_face_lies() -> None:
    net, _ = networks()
    source, driving = faces(3, 1), faces(3, 2)
    made = net.personalise(source, driving)
    torch.testing.assert_close(net.personalise(source, moved(driving)), moved(made), atol=1e-5, rtol=0)
    torch.testing.assert_close(net.personalise(moved(source), driving), made, atol=1e-5, rtol=0)


def test_identity_comes_from_the_source_and_all_else_from_driving() -> None:
    net, _ = networks()
    source, driving = net.codes(faces(3, 1)), net.codes(faces(3, 2))
    expected = net.generate(driving.pose_expression, source.identity, driving.framing)
    torch.testing.assert_close(net.personalise(faces(3, 1), faces(3, 2)), expected)


def test_rows_without_a_face_spoil_only_themselves() -> None:
    net, _ = networks()
    source, driving = faces(4, 1), faces(4, 2)
    whole = net.personalise(source, driving)
    source[0], driving[1, 5], driving[2] = torch.nan, torch.nan, 0.5  # the last: all points in one place
    made = net.personalise(source, driving)
    assert made[:3].isnan().all()
    torch.testing.assert_close(made[3], whole[3])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda points: points[:, :67], r"'landmarks' has shape \(2, 67, 2\).*68 point scheme"),
        (lambda points: points.index_fill(1, torch.tensor([9]), torch.nan), "NaN .* in row 0; leave out"),
        (lambda points: 60 * points, "in pixels"),
        (lambda points: points.flip(1), "not in the order of iBUG"),
    ],
)
def test_bad_landmarks_are_refused_with_a_remedy(spoil: object, says: str) -> None:
    net, _ = networks()
    with pytest.raises(InputError, match=says):
        net.codes(spoil(faces(2)))  # type: ignore[operator]


def test_personalise_names_the_key_that_is_wrong() -> None:
    net, _ = networks()
    with pytest.raises(InputError, match="'driving_landmarks' has shape"):
        net.personalise(faces(2), faces(2)[:, :5])
    with pytest.raises(InputError, match="'source_landmarks' has 68 points, but not in the order"):
        net.personalise(faces(2).flip(1), faces(2))


# --- losses -------------------------------------------------------------------------------------------------------


def test_the_adversary_gains_nothing_below_chance() -> None:
    probability = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.1, 0.3, 0.3, 0.3]])
    scores = probability.log().requires_grad_()
    value = ld_losses.above_chance(scores, torch.tensor([0, 0]))
    assert float(value.detach()) == pytest.approx((math.log(0.7) + math.log(0.25)) / 2)
    (gradient,) = torch.autograd.grad(value, scores)
    assert float(gradient[0, 0]) > 0, "lowering the loss lowers the probability of the right name"
    assert not gradient[1].any()


def test_divergence_is_that_of_torch() -> None:
    mean, log_variance = torch.randn(2, 5, 3, generator=generator())
    ours = ld_losses.divergence(mean, log_variance)
    normal = torch.distributions.Normal
    theirs = torch.distributions.kl_divergence(normal(mean, (log_variance / 2).exp()), normal(0.0, 1.0))
    torch.testing.assert_close(ours, theirs.sum(1).mean())


def test_the_bank_begins_with_the_principal_coordinates_of_faces() -> None:
    bank = networks()[1].bank
    shapes = torch.randn(PEOPLE, 136, generator=generator())
    bank.start_from(shapes)
    codes = bank(torch.arange(PEOPLE)).detach()
    torch.testing.assert_close(codes.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    assert float(codes[:, 0].square().mean()) == pytest.approx(1, abs=1e-4)
    ratio = torch.pdist(codes) / torch.pdist(shapes)  # three coordinates hold four points
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), atol=1e-5, rtol=1e-4)


def test_mean_shapes_lose_the_directions_of_motion_and_keep_those_of_identity() -> None:
    directions, _ = torch.linalg.qr(torch.randn(136, ld_losses.MOTION + 1, generator=generator()))
    who = torch.randn(3, 1, generator=generator(1)) @ directions[:, -1:].T
    identity = torch.arange(3).repeat_interleave(20)
    moves = torch.randn(60, ld_losses.MOTION, generator=generator(2))
    moves = moves + 2 * identity[:, None]  # everybody looks another way on the whole
    still = ld_losses.still_shapes(who[identity] + moves @ directions[:, :-1].T, identity, 4)
    torch.testing.assert_close(torch.pdist(still[:3]), torch.pdist(who), atol=1e-4, rtol=0)
    assert still.isfinite().all(), "a person without a row too"


def test_others_are_never_oneself_and_everybody_else() -> None:
    identity = torch.arange(PEOPLE).repeat(200)
    other = ld_losses.others(identity, PEOPLE)
    assert not (other == identity).any()
    assert {(int(a), int(b)) for a, b in zip(identity, other)} == {
        (a, b) for a in range(PEOPLE) for b in range(PEOPLE) if a != b
    }


@pytest.mark.parametrize("space", ["landmarks", "code"])
def test_the_adversary_trains_the_encoder_and_not_the_bank(space: str) -> None:
    net, support = networks(adversary=space)
    weights = LDLossWeights(adversary_space=space)
    source, _, identity = pairs()
    ld_losses.stage1_losses(net, support, source, identity, weights)["adversary"].backward()
    reached = [g is not None and bool(g.any()) for g in gradients(net.pose_expression_encoder)]
    assert any(reached)
    rows = support.bank.rows.grad
    assert rows is None or not rows.any()
    assert any(g is not None for g in gradients(net.generator)) == (space == "landmarks")


def test_rows_of_the_ablation_leave_terms_out() -> None:
    net, support = networks()
    source, _, identity = pairs()
    parts = ld_losses.stage1_losses(net, support, source, identity, LDLossWeights(adversary_space="none", divergence=0))
    assert set(parts) == {"reconstruction"}


def test_opponents_train_only_themselves() -> None:
    net, support = networks()
    source, driving, identity = pairs()
    for shared in ({}, None):
        own = shared if shared is not None else {}
        ld_losses.stage1_losses(net, support, source, identity, LDLossWeights(), shared)
        naming = ld_losses.stage1_classifier_losses(net, support, source, identity, LDLossWeights(), own)
        ld_losses.stage2_losses(net, support, source, driving, identity, LDLossWeights(), shared)
        critic = ld_losses.stage2_critic_losses(net, support, source, driving, identity, LDLossWeights(), own)
        torch.stack([*naming.values(), *critic.values()]).sum().backward()
        assert all(g is None for g in [*gradients(net), *gradients(support.bank)])
        assert all(g is not None for g in [*gradients(support.classifier), *gradients(support.critic)])


def test_an_opponent_sees_the_shapes_its_adversary_made() -> None:
    net, support = networks()
    source, driving, identity = pairs()
    shared: dict[str, Tensor] = {}
    ld_losses.stage1_losses(net, support, source, identity, LDLossWeights(), shared)
    seen = support.classifier(shared["ld_seen"])
    naming = ld_losses.stage1_classifier_losses(net, support, source, identity, LDLossWeights(), shared)["naming"]
    torch.testing.assert_close(naming, nn.functional.cross_entropy(seen, identity))
    ld_losses.stage2_losses(net, support, source, driving, identity, LDLossWeights(), shared)
    assert not shared["ld_crossed"].requires_grad


def test_labels_of_nobody_are_refused() -> None:
    net, support = networks()
    source, _, identity = pairs()
    with pytest.raises(InputError, match="set up for 4 persons"):
        ld_losses.stage1_losses(net, support, source, identity + 1, LDLossWeights())


# --- training -----------------------------------------------------------------------------------------------------


def test_a_short_training_learns_faces_and_who_they_belong_to() -> None:
    config = dataclasses.replace(TINY, stage1_updates=80, stage2_updates=50, batch=16, lr=5e-3)
    trainer = LDTrainer(table(), dataclasses.replace(config, weights=LDLossWeights(noise=0.0)))
    known = table()

    @torch.no_grad()
    def error() -> float:
        made = trainer.net.personalise(known.landmarks.roll(1, 0), known.landmarks)
        own = known.identity.roll(1) == known.identity
        return float((made - known.landmarks)[own].norm(dim=-1).mean())

    before = error()
    net = trainer.run()
    assert error() < before / 2
    codes = net.codes(known.landmarks).identity.detach()
    centres = torch.stack([codes[known.identity == k].mean(0) for k in range(PEOPLE)])
    assert (torch.cdist(codes, centres).argmin(1) == known.identity).all()


def test_the_second_stage_leaves_the_first_ones_encoder_alone(tmp_path: Path) -> None:
    net = LDTrainer(table(), TINY, tmp_path).run()
    between = torch.load(tmp_path / "stage1.pt", weights_only=True)["net"]
    changed = {name.split(".")[0] for name, value in net.state_dict().items() if not value.equal(between[name])}
    assert changed == {"identity_encoder", "generator"}


class Stopped(Exception):
    """The power went out."""


class Interrupted(LDTrainer):
    """Stops behind an update."""

    def _after(self, stage: int, update: int, *rest: object) -> None:  # type: ignore[override]
        super()._after(stage, update, *rest)  # type: ignore[arg-type]
        if (stage, update) == self.stop_at:
            raise Stopped

    stop_at = (1, 5)


@pytest.mark.parametrize("stop_at", [(1, 5), (2, 3)])
def test_an_interrupted_training_ends_where_it_would_have_ended(tmp_path: Path, stop_at: tuple[int, int]) -> None:
    whole = LDTrainer(table(), TINY).run()
    trainer = Interrupted(table(), TINY, tmp_path)
    trainer.stop_at = stop_at
    with pytest.raises(Stopped):
        trainer.run()
    resumed = LDTrainer(table(), TINY, tmp_path).run()
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, atol=0, rtol=0, msg=name)
    read = LDTrainer(table(), TINY, tmp_path).run()  # finished: nothing is trained again
    assert all(read.state_dict()[name].equal(value) for name, value in whole.state_dict().items())


def test_a_folder_of_another_training_is_refused(tmp_path: Path) -> None:
    LDTrainer(table(), TINY, tmp_path).run()
    with pytest.raises(InputError, match=r"of another training \(seed is 0 there and 1 here"):
        LDTrainer(table(), dataclasses.replace(TINY, seed=1), tmp_path).run()


def test_a_saved_network_comes_back(tmp_path: Path) -> None:
    net, _ = networks()
    save_ld_net(net, tmp_path / "net.safetensors")
    again = load_ld_net(tmp_path / "net.safetensors")
    torch.testing.assert_close(again.personalise(faces(2), faces(2, 1)), net.personalise(faces(2), faces(2, 1)))
    with pytest.raises(InputError, match="no checkpoint file"):
        load_ld_net(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("labels", "says"),
    [([0, 0, 2, 2], "identity 1 has 0 rows"), ([0, 0, 0, 1], "identity 1 has 1 rows"), ([0, 0], "as many identities")],
)
def test_a_table_needs_two_frames_of_everybody(labels: list[int], says: str) -> None:
    with pytest.raises(InputError, match=says):
        LandmarkTable(faces(4), torch.tensor(labels), torch.arange(4))


def test_pairs_of_an_update_show_one_person_in_two_frames() -> None:
    trainer = LDTrainer(table(), TINY)
    with seeded(1):
        trainer._draw()
    source, driving, person = trainer._pairs
    for a, b, who in zip(source, driving, person):
        own = table().landmarks[table().identity == who]
        rows = [int((own == face).all(-1).all(-1).nonzero()) for face in (a, b)]
        assert rows[0] != rows[1]


# --- without a network --------------------------------------------------------------------------------------------


def additive_faces(people: int = 40, frames: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    """mean + identity (two directions) + motion (two others), all exact; (N, T, 68, 2) and the two parts."""
    directions, _ = torch.linalg.qr(torch.randn(136, 4, generator=generator(1), dtype=torch.float64))
    who = 0.5 * torch.randn(people, 1, 2, generator=generator(2), dtype=torch.float64)
    what = 0.5 * torch.randn(people, frames, 2, generator=generator(4), dtype=torch.float64)
    h, w = (who @ directions[:, :2].T).unflatten(-1, (68, 2)), (what @ directions[:, 2:].T).unflatten(-1, (68, 2))
    return landmark_shape.mean_shape().double() + h + w, h, w


def test_the_pca_transformer_solves_additive_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reenact_zoo.methods.ldnet_fdgan.pca_transformer.framing_of", lambda x: x.new_zeros(len(x), 3))
    points, h, _ = additive_faces()
    identity = torch.arange(len(points)).repeat_interleave(points.shape[1])
    pca = PCATransformer.fit(points.flatten(0, 1), identity, identity_modes=2, motion_modes=2, turns=1)
    truth = points[5, 3] + h[7, 0] - h[5, 0]
    made = pca.personalise(points[7, :1], points[5, 3:4])[0]
    assert (made - truth).norm(dim=-1).mean() < 0.15 * (h[7, 0] - h[5, 0]).norm(dim=-1).mean()


def test_the_pca_transformer_changes_nobody_into_himself() -> None:
    known = table()
    pca = PCATransformer.fit(known.landmarks, known.identity)
    driving = known.landmarks[:3]
    torch.testing.assert_close(pca.personalise(driving, driving), driving, atol=1e-5, rtol=0)
    spoilt = driving.clone()
    spoilt[1] = torch.nan
    assert pca.personalise(driving, spoilt).isnan().all(-1).all(-1).tolist() == [False, True, False]


# --- over time ----------------------------------------------------------------------------------------------------


def clip_codes(frames: int = 5) -> Codes:
    a, b, c = torch.randn(frames, 9, generator=generator()).split([4, 2, 3], dim=1)
    return Codes(a, b, c)


def test_smoothing_is_off_by_default() -> None:
    codes = clip_codes()
    assert CodeSmoother()(codes) is codes


def test_smoothing_mixes_with_the_past_and_leaves_identity_alone() -> None:
    codes = clip_codes(2)
    smooth = CodeSmoother(0.25)(codes)
    assert smooth.identity is codes.identity
    for before, after in ((codes.pose_expression, smooth.pose_expression), (codes.framing, smooth.framing)):
        torch.testing.assert_close(after, torch.stack([before[0], 0.25 * before[0] + 0.75 * before[1]]))


def test_frames_one_by_one_are_smoothed_as_all_together_and_missing_ones_skipped() -> None:
    codes, smoother = clip_codes(), CodeSmoother(0.5)
    codes.pose_expression[2] = torch.nan
    whole = smoother(codes)
    smoother.reset()
    for row in range(5):
        part = slice(row, row + 1)
        one = smoother(Codes(codes.pose_expression[part], codes.identity[part], codes.framing[part]))
        torch.testing.assert_close(one.pose_expression, whole.pose_expression[part], equal_nan=True)
    assert whole.pose_expression.isnan().any(1).tolist() == [False, False, True, False, False]


def test_a_strength_of_one_is_refused() -> None:
    with pytest.raises(InputError, match="below 1"):
        CodeSmoother(1.0)
