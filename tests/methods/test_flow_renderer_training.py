"""How flow_renderer learns: the cycle's two traps, its phases, and what it sees of training frames."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.faces.coefficients import LAYOUT
from reenact_zoo.methods import _sampling as sampling
from reenact_zoo.methods.flow_renderer import losses
from reenact_zoo.methods.flow_renderer.config import Config
from reenact_zoo.methods.flow_renderer.descriptor import FlameReader
from reenact_zoo.methods.flow_renderer.flow import FlowField
from reenact_zoo.methods.flow_renderer.module import REST, WARP, FlowRenderer
from reenact_zoo.methods.flow_renderer.networks import Networks, Source, Warped
from reenact_zoo.methods.flow_renderer.rigid import identity_volume_grid, rigid_grid
from reenact_zoo.methods.flow_renderer.training import Lesson, Pair, Teacher
from reenact_zoo.methods.flow_renderer.warp3d import warp_volume
from reenact_zoo.ops.coordinates import identity_grid
from reenact_zoo.testing import overfit, synthetic_batch
from reenact_zoo.types import PairBatch

SIZE = Config.tiny().image_size
KEYS = FlowRenderer.requires | FlowRenderer.training_requires | {"source_identity", "driving_identity"}
FLAME = FlameReader.layout


def build(**changes: Any) -> FlowRenderer:
    torch.manual_seed(0)
    tiny = Config.tiny()
    parts = {name.partition(".")[2]: changes.pop(name) for name in list(changes) if name.startswith("losses.")}
    return FlowRenderer(dataclasses.replace(tiny, losses=dataclasses.replace(tiny.losses, **parts), **changes))


def pairs(count: int = 2, seed: int = 0) -> PairBatch:
    return synthetic_batch(SIZE, count, KEYS, seed=seed)


def with_entries(batch: PairBatch, **entries: Any) -> PairBatch:
    return cast(PairBatch, {**batch, **entries})


def lesson_of(method: FlowRenderer, batch: PairBatch) -> Lesson:
    pair = method.teacher.pair(batch)
    assert pair is not None
    return method._lesson(pair)


def total(parts: dict[str, Tensor]) -> float:
    return float(torch.stack(list(parts.values())).sum().detach())


# --- the cycle and its traps ------------------------------------------------------------------------------------------


class Shifting(nn.Module):
    """Stands for ``Networks``: the volume is the picture, the residual flows there and back are two numbers each."""

    def __init__(self, occlusion: float = 1.0) -> None:
        super().__init__()
        self.forth, self.back = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
        self.occlusion = occlusion

    def warp(self, volume: Tensor, code: Tensor, to: Tensor, *_: Any, detach_occlusion: bool = False) -> Warped:
        shift = F.pad(self.forth if to.any() else self.back, (0, 1))
        shape = cast("tuple[int, int, int]", volume.shape[2:])
        residual = shift.view(1, 3, 1, 1, 1).expand(len(volume), 3, *shape)
        flow = identity_volume_grid(shape) + residual.movedim(1, -1)
        occlusion = torch.full((len(volume), 1, *shape[1:]), self.occlusion)
        moved = warp_volume(volume, flow)
        return Warped(moved * occlusion[:, :, None], moved, FlowField(residual, flow, occlusion, flow[..., 0]))

    def rgb(self, volume: Tensor) -> Tensor:
        return volume.mean(2)

    def losses(self, teacher: Teacher, *, same: bool = True) -> dict[str, Tensor]:
        """Terms of a pair whose content moves by two pixels of sixteen to the right."""
        spot = (-(identity_grid(16, 16) + torch.tensor([0.2, -0.1])).square().sum(-1) / 0.15).exp()
        image = torch.tensor([0.9, 0.6, 0.4]).view(1, 3, 1, 1) * spot
        seen, code = torch.ones(1, 1, 16, 16), torch.zeros(1, 1)
        driving = image.roll(2, 3)
        rows = torch.zeros(1, 1)
        pair = Pair(image, driving, seen, seen, rows, rows, torch.tensor([same]), rows)
        motion = FlameReader().motion(torch.zeros(1, FLAME.total))
        source = Source(image, image, seen, image[:, :, None].expand(-1, -1, 2, -1, -1), image, code, motion, seen > 0)
        warped = self.warp(source.volume, code, code + 1)
        lesson = Lesson(pair, source, code + 1, motion, warped, self.rgb(warped.volume))
        return teacher.warp(cast(Networks, self), lesson, 0, alone=True)


def test_the_loss_asks_for_the_expression_flow_and_rises_when_it_is_left_out() -> None:
    networks, teacher = Shifting(), build().teacher
    still = total(networks.losses(teacher))
    optimiser = torch.optim.Adam(networks.parameters(), lr=0.03)
    for _ in range(30):
        optimiser.zero_grad()
        torch.stack(list(networks.losses(teacher).values())).sum().backward()
        optimiser.step()
    learned = total(networks.losses(teacher))
    assert networks.forth.tolist() == pytest.approx([-0.25, 0.0], abs=0.06)
    assert networks.back.tolist() == pytest.approx([0.25, 0.0], abs=0.06)
    assert still > 1.5 * learned
    with torch.no_grad():  # only the way there left out, and only the way back
        for name in ("forth", "back"):
            flow = getattr(networks, name)
            kept = flow.clone()
            flow.zero_()
            assert total(networks.losses(teacher)) > 1.2 * learned
            flow.copy_(kept)
    # The trap: on two persons, where the driving frame is no truth, no flow is the best one.
    assert total(networks.losses(teacher, same=False)) > total(Shifting().losses(teacher, same=False))


def test_hiding_everything_does_not_lower_the_cycle() -> None:
    teacher = build().teacher
    seen, hidden = Shifting().losses(teacher, same=False), Shifting(occlusion=0.02).losses(teacher, same=False)
    assert hidden["cycled"] > seen["cycled"] + 0.1
    assert hidden["volume"] > seen["volume"] + 0.1


def test_the_cycle_gives_the_occlusion_no_gradient_and_the_flow_one() -> None:
    method, batch = build(), pairs()
    parts = method.teacher.cycle(method.networks, lesson_of(method, batch))
    assert parts.keys() == {"cycled", "volume", "flow_cycle"}
    torch.stack(list(parts.values())).sum().backward()
    occlusion = method.networks.flow.to_occlusion
    assert all(p.grad is None or not p.grad.any() for p in occlusion.parameters())
    assert cast(Tensor, method.networks.flow.to_flow.weight.grad).abs().sum() > 0
    assert any(p.grad is not None and p.grad.any() for p in method.networks.appearance.parameters())


def test_a_cycled_volume_is_weighed_the_same_however_little_is_seen() -> None:
    random = torch.Generator().manual_seed(0)
    volume, cycled = torch.randn(2, 2, 3, 4, 5, 5, generator=random).unbind(0)
    occlusion = 0.5 + 0.5 * torch.rand(2, 1, 5, 5, generator=random)
    reference = losses.volume_cycle(cycled, volume, occlusion)
    assert losses.volume_cycle(cycled, volume, 1e-3 * occlusion) == pytest.approx(float(reference), rel=0.1)
    assert losses.volume_cycle(100 * cycled, 100 * volume, occlusion) == pytest.approx(float(reference), rel=1e-4)
    assert losses.volume_cycle(volume, volume, occlusion) == 0
    half = occlusion.clone()
    half[..., :3] = 0
    wrong_where_hidden = volume.clone()
    wrong_where_hidden[..., :3] += 1
    assert losses.volume_cycle(wrong_where_hidden, volume, half) < 0.3 * losses.volume_cycle(volume + 1, volume, half)


def test_rigid_motions_undo_each_other_and_residual_flows_must() -> None:
    shape, reader = (4, 8, 8), FlameReader()
    rows = torch.zeros(2, 1, FLAME.total)
    FLAME.split(rows[1])["pose"][:, 1] = 0.3
    FLAME.split(rows[1])["camera"][:] = torch.tensor([0.1, 0.1, -0.05])
    source, driving = (reader.motion(row) for row in rows)
    forth, back = rigid_grid(source, driving, shape), rigid_grid(driving, source, shape)
    seen = torch.ones(1, 1, 8, 8)
    assert losses.flow_cycle(forth, back, seen) < 1e-4
    assert losses.flow_cycle(forth + 0.1, back, seen) == pytest.approx(0.3, rel=0.05)
    still = identity_volume_grid(shape)[None]
    assert losses.flow_cycle(still + 0.1, still - 0.1, seen) < 1e-5
    assert losses.flow_cycle(still + 0.1, still + 0.1, seen) > 0.5


def test_coefficients_are_compared_on_every_pair_and_ask_the_flow() -> None:
    method = build(coefficients="ict_reduced", **{"losses.coefficients": 1.0}, judge_every=2)
    turned = torch.zeros(1, LAYOUT.total)
    LAYOUT.split(turned)["pose"][:, 0] = 10.0
    rows = {"source_coefficients": torch.zeros_like(turned), "driving_coefficients": turned}
    cross = with_entries(pairs(1), **rows, same_identity=torch.zeros(1, dtype=torch.bool))
    lesson = lesson_of(method, cross)
    assert "coefficients" not in method.teacher.warp(method.networks, lesson, 1, alone=True)
    parts = method.teacher.warp(method.networks, lesson, 2, alone=True)
    assert "warped" not in parts
    parts["coefficients"].backward()
    assert parts["coefficients"] > 0
    assert cast(Tensor, method.networks.flow.to_flow.weight.grad).abs().sum() > 0
    assert {"synthetic_coefficients", "synthetic_parsing"} <= set(method.instruments)
    lost = torch.full((1, 30), torch.nan)
    assert losses.read_again(lost, lost, 10) == 0


# --- training -------------------------------------------------------------------------------------------------------


def test_the_first_phase_warps_and_the_second_learns_everything() -> None:
    method, batch = build(warp_share=0.25), pairs()
    method.max_updates = 40
    warp, full = method.phases()
    assert (warp.name, warp.start, warp.stop, tuple(warp.networks)) == ("warp", 0, 10, WARP)
    assert (full.name, full.start, full.stop, tuple(full.networks)) == ("full", 10, None, WARP + REST)
    torch.stack(list(method._warp_losses(batch, {}).values())).sum().backward()
    untrained = [method.get_submodule(name) for name in REST]
    assert all(p.grad is None for network in untrained for p in network.parameters())
    shared: dict[str, Any] = {}
    torch.stack(list(method._full_losses(batch, shared).values())).sum().backward()
    assert [name for name, p in method.named_parameters() if p.grad is None] == []
    assert not shared["made"].requires_grad
    only = build(warp_share=0.0)
    only.max_updates = 40
    assert [phase.name for phase in only.phases()] == ["full"]


def test_one_run_goes_through_both_phases_each_with_an_optimiser_of_its_own() -> None:
    method = build(warp_share=0.67)
    overfit(method, pairs(), 3)
    warp, full = cast("list[Any]", method.trainer.optimizers)
    assert {int(state["step"]) for state in warp.state.values()} == {2}
    assert {int(state["step"]) for state in full.state.values()} == {1}
    assert len(full.state) > len(warp.state) > 0


def test_the_adversarial_term_begins_with_the_discriminator() -> None:
    method, batch = build(**{"losses.adversarial": 0.1, "losses.adversarial_start": 0.5}), pairs()
    method.max_updates = 20
    start = {phase.name: phase.start for phase in method.phases()}["discriminator"]
    assert start == 10
    for update, present in ((start - 1, False), (start, True)):
        method.num_updates = update
        shared: dict[str, Any] = {}
        assert ("adversarial" in method._full_losses(batch, shared)) == present
    method._discriminator_losses(batch, shared)["hinge"].backward()
    assert all(p.grad is not None for p in cast(Any, method.discriminator).parameters())
    assert all(p.grad is None for p in method.networks.parameters())


def test_pairs_of_two_persons_know_the_cycle_alone() -> None:
    method, batch = build(cross_share=0.0), pairs()
    cross = with_entries(batch, same_identity=torch.zeros(2, dtype=torch.bool))
    cycle = {"cycled", "volume", "flow_cycle", "own", "occlusion", "flow"}
    assert method._full_losses(cross, {}).keys() == cycle
    assert method._full_losses(batch, {}).keys() == cycle | {"warped", "foreground", "matte", "image"}
    method.num_updates = 1
    assert method._full_losses(cross, {}).keys() == {"occlusion", "flow"}


def test_a_share_of_rows_gets_everything_of_another_persons_frame() -> None:
    batch = pairs(6)
    torch.manual_seed(0)
    mixed = sampling.with_cross_pairs(batch, 1.0)
    assert not mixed["same_identity"].any()
    assert torch.equal(mixed["source_matte"], batch["source_matte"])
    for row, taken in enumerate(mixed["driving_identity"].tolist()):
        assert taken != row
        for key in ("driving", "driving_landmarks", "driving_coefficients", "driving_matte"):
            assert torch.equal(cast(Any, mixed)[key][row], cast(Any, batch)[key][taken])
    assert sampling.with_cross_pairs(batch, 0.0) is batch
    one = with_entries(batch, source_identity=torch.zeros(6).long(), driving_identity=torch.zeros(6).long())
    assert sampling.with_cross_pairs(one, 1.0)["same_identity"].all()
    rows = torch.arange(2000)
    people = {f"{role}_identity": rows % 50 for role in ("source", "driving")}
    many = {"source": rows, "driving": rows, "same_identity": rows >= 0, **people}
    share = 1 - sampling.with_cross_pairs(cast(PairBatch, many), 0.2)["same_identity"].float().mean()
    assert share == pytest.approx(0.2, abs=0.04)


def test_training_sees_estimates_and_not_the_truth() -> None:
    changes: dict[str, Any] = {"coefficients": "ict_reduced", "training_annotations": "estimated"}
    method, batch = build(**changes, cross_share=0.0, landmark_noise=0.0), pairs()
    still = torch.zeros(2, LAYOUT.total)
    other = with_entries(batch, source_coefficients=still, driving_coefficients=still, source_matte=still[:, :1])
    pair, same = method.teacher.pair(batch), method.teacher.pair(other)
    assert pair is not None
    assert same is not None
    for name in ("rows", "driving_rows", "matte"):
        assert torch.equal(getattr(pair, name), getattr(same, name))
    assert pair.rows.shape == (2, LAYOUT.total)
    assert torch.equal(pair.driving_matte, batch["driving_matte"])
    soft = (pair.matte > 0.02) & (pair.matte < 0.98)
    assert soft.float().mean() > 0.02
    noisy = build(**changes, cross_share=0.0).teacher.pair(batch)
    assert noisy is not None
    assert not torch.allclose(noisy.rows, pair.rows, atol=1e-3)


def test_a_batch_without_a_usable_row_trains_nothing() -> None:
    method, batch = build(**{"losses.adversarial": 0.1}), pairs()
    empty = with_entries(batch, driving_coefficients=torch.full((2, FLAME.total), torch.nan))
    shared: dict[str, Any] = {}
    assert total(method._warp_losses(empty, shared)) == 0
    assert total(method._full_losses(empty, shared)) == 0
    assert total(method._discriminator_losses(empty, shared)) == 0
    some = batch["source_matte"].clone()
    some[0, 0, 3, 3] = torch.nan
    pair = method.teacher.pair(with_entries(batch, source_matte=some))
    assert isinstance(pair, Pair)
    assert len(pair.source) == 1


def test_the_matte_learns_where_its_clamp_is_flat() -> None:
    for logit, truth, direction in ((-6.0, 1.0, -1.0), (6.0, 0.0, 1.0), (-2.95, 0.0, 1.0)):
        value = torch.full((1, 1, 2, 2), logit, requires_grad=True)
        alpha = ((value.sigmoid() - 0.05) / 0.9).clamp(0, 1)
        (clamped,) = torch.autograd.grad((alpha - truth).abs().mean(), value, retain_graph=True)
        (gradient,) = torch.autograd.grad(losses.matte(alpha, value, torch.full_like(alpha, truth)), value)
        assert not clamped.any()
        assert (direction * gradient > 1e-4).all()


def test_the_blank_area_weighs_more() -> None:
    method = build(cross_share=0.0)
    lesson = lesson_of(method, pairs())
    with torch.no_grad():
        refined = method.networks.refine(lesson.source, lesson.warped, lesson.warped_rgb, lesson.code)
        composed = method.networks.compose(lesson.source, refined)
        everything = dataclasses.replace(composed, blank=torch.ones_like(composed.blank))
        nothing = dataclasses.replace(composed, blank=torch.zeros_like(composed.blank))
        found = [method.teacher.picture(lesson.pair, refined, c, 0)["image"] for c in (nothing, everything)]
    assert float(found[1]) == pytest.approx(method.config.losses.blank * float(found[0]), rel=1e-4)
