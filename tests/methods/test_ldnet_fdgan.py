"""ldnet_fdgan as a method: stages in order, one path for self and cross pairs, bad samples spoil only themselves."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from reenact_zoo.config import load_train_config, packaged_names
from reenact_zoo.methods.ldnet_fdgan.config import Config
from reenact_zoo.methods.ldnet_fdgan.fd_losses import FDLossWeights
from reenact_zoo.methods.ldnet_fdgan.module import LdnetFdgan
from reenact_zoo.testing import overfit, synthetic_batch
from reenact_zoo.types import InputError, PairBatch

KEYS = LdnetFdgan.requires
SIZE = Config.tiny().image_size
LABELS = {"source_identity", "driving_identity"}
PARTS = (
    "ld_net.pose_expression_encoder",
    "ld_net.identity_encoder",
    "ld_net.generator",
    "ld_support.bank",
    "ld_support.classifier",
    "ld_support.critic",
    "extractor",
    "translator",
)
MAX_BYTES = 6_000_000  # of a file in float16
MAX_MACS = 0.5e9  # per picture, all networks of 64 pixels


def build(**changes: Any) -> LdnetFdgan:
    torch.manual_seed(0)
    return LdnetFdgan(dataclasses.replace(Config.tiny(), **changes))


@pytest.fixture(scope="module")
def pairs() -> PairBatch:
    return synthetic_batch(SIZE, 3, {*KEYS, *LABELS})


def with_entries(batch: PairBatch, **entries: Any) -> PairBatch:
    return cast(PairBatch, {**batch, **entries})


def cross(batch: PairBatch) -> PairBatch:
    none = torch.zeros(len(batch["source"]), dtype=torch.bool)
    return with_entries(batch, same_identity=none, driving_identity=(batch["source_identity"] + 1) % 4)


def snapshot(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(network: torch.nn.Module, before: dict[str, Tensor]) -> bool:
    return any(not torch.equal(value, before[name]) for name, value in network.state_dict().items())


# --- training -----------------------------------------------------------------------------------------------------


def test_thirty_updates_on_one_pair_halve_the_loss(pairs: PairBatch) -> None:
    method = build(ld_net=False, adversarial_start=1.0, landmark_noise=0.0, learning_rate=1e-2)
    one = cast(PairBatch, {key: cast(Any, value)[:1] for key, value in pairs.items()})

    def loss() -> float:
        with torch.no_grad():
            found = method.train()._generator_losses(one, {})
            return sum(float(found[part]) for part in ("colour", "gradient"))

    before = loss()
    overfit(method, one, 30)
    assert loss() < before / 2


def test_stages_come_one_after_the_other() -> None:
    method = build()
    method.max_updates = 100
    phases = method.phases()
    active = {u: [phase.name for phase in phases if phase.active(u)] for u in (0, 9, 10, 19, 20, 67, 68, 99)}
    assert active[0] == active[9] == ["ld_stage1", "ld_classifier"]
    assert active[10] == active[19] == ["ld_stage2", "ld_critic"]
    assert active[20] == active[67] == ["generator"]
    assert active[68] == active[99] == ["generator", "discriminator", "classifier"]


@pytest.mark.parametrize("changes", [{"ld_net": False}, {"ld_stage1_end": 0.0, "ld_stage2_end": 0.5}])
def test_a_stage_can_be_left_out(changes: dict[str, Any]) -> None:
    method = build(**changes)
    method.max_updates = 10
    method.configure_optimizers()
    first = [phase.name for phase in method.phases() if phase.active(0)]
    assert first == (["generator"] if "ld_net" in changes else ["ld_stage2", "ld_critic"])


def test_ld_net_that_nothing_trains_is_refused() -> None:
    method = build(ld_stage1_end=0.0, ld_stage2_end=0.0)
    method.max_updates = 10
    with pytest.raises(InputError, match=r"untrained.*ld_weights.*ld_net=false"):
        method.phases()


@pytest.mark.parametrize(("first", "stage"), [(1.0, "ld_stage1"), (0.0, "ld_stage2")])
def test_a_stage_of_ld_net_learns_from_landmarks_alone(first: float, stage: str, pairs: PairBatch) -> None:
    method = build(ld_stage1_end=first, ld_stage2_end=1.0, ld_steps=3)
    blind = with_entries(pairs, source=torch.full_like(pairs["source"], torch.nan))
    parts = {name: method.get_submodule(name) for name in PARTS}
    before = {name: snapshot(network) for name, network in parts.items()}
    overfit(method, blind, 2)
    moved = {name for name, network in parts.items() if changed(network, before[name])}
    one = {"ld_net.pose_expression_encoder", "ld_net.generator", "ld_support.bank", "ld_support.classifier"}
    two = {"ld_net.identity_encoder", "ld_net.generator", "ld_support.critic"}
    assert moved == (one if stage == "ld_stage1" else two)
    names = [phase.name for phase in method._phases or []]
    state = method.optimizers(use_pl_optimizer=False)[names.index(stage)].state  # type: ignore[index]
    assert {int(entry["step"]) for entry in state.values()} == {2 * 3}, "not every step of an update was made"


def test_faces_are_collected_before_the_bank_begins_with_mean_shapes(pairs: PairBatch) -> None:
    method = build(ld_stage1_end=1.0, ld_stage2_end=1.0, ld_collect=0.5)
    before = snapshot(method.ld_net)
    method.max_updates = 4
    method.phases()
    assert method._stage_losses("ld_stage1", pairs, {}).keys() == {"nothing"}
    assert method._opponent_losses("ld_stage1", pairs, {}).keys() == {"nothing"}
    assert len(method._stages.memory) == 6
    method.num_updates = 2
    assert "reconstruction" in method._stage_losses("ld_stage1", pairs, {})
    assert not changed(method.ld_net, before)
    codes = method.ld_support.bank(torch.arange(4)).detach()
    assert codes[:, 0].var(correction=0).item() == pytest.approx(1, abs=1e-3)
    # nobody's picture shows person 3: the mean of all, which is the bank's middle
    assert codes[3].norm() < 0.1 * codes[:3].norm(dim=1).min()


def test_ld_net_rests_while_fd_gan_learns(pairs: PairBatch) -> None:
    method = build(adversarial_start=0.0, cross_share=1.0, losses=FDLossWeights())
    method.max_updates, method.num_updates = 10, 9
    method.phases()
    found = method._generator_losses(pairs, {})
    assert {"colour", "gradient", "perceptual", "adversarial", "identity", "features"} == found.keys()
    torch.stack(list(found.values())).sum().backward()
    assert all(p.grad is None for p in method.ld_net.parameters())
    for network in (method.extractor, method.translator):
        assert all(p.grad is not None for p in network.parameters())


def test_the_terms_of_the_opponents_grow_from_their_start(pairs: PairBatch) -> None:
    method = build(adversarial_ramp=0.5)
    method.max_updates = 100
    method.phases()  # 20 updates for LD-Net; opponents from 68 on; full weight 40 updates later
    method.num_updates = 67
    assert "adversarial" not in method._generator_losses(pairs, {})
    assert method._ramp == 0
    method.num_updates = 68
    assert method._ramp == pytest.approx(1 / 40)
    method.num_updates = 107
    assert method._ramp == 1


@pytest.mark.parametrize(
    ("weight", "part"), [("colour", "colour"), ("adversarial", "adversarial"), ("identity", "identity")]
)
def test_a_loss_of_weight_zero_is_gone(weight: str, part: str, pairs: PairBatch) -> None:
    method = build(losses=FDLossWeights(**{weight: 0.0}), ld_net=False, adversarial_start=0.0)
    method.phases()
    found = method._generator_losses(pairs, {})
    assert part not in found
    assert len(found) == 5


def test_cross_pairs_have_no_truth(pairs: PairBatch) -> None:
    method = build(ld_net=False, adversarial_start=0.0)
    method.phases()
    shared: dict[str, Any] = {}
    assert method._generator_losses(cross(pairs), shared).keys() == {"adversarial", "identity"}
    assert "real" not in shared
    assert method._discriminator_losses(pairs, shared).keys() == {"nothing"}
    assert method._classifier_losses(pairs, shared).keys() == {"naming", "not_naming"}
    method._adversarial_from = 1
    assert method._generator_losses(cross(pairs), {}).keys() == {"nothing"}


def test_a_batch_without_a_usable_row_trains_nothing(pairs: PairBatch) -> None:
    empty = with_entries(pairs, source_landmarks=torch.full_like(pairs["source_landmarks"], torch.nan))
    method = build(adversarial_start=0.0)
    method.phases()
    shared: dict[str, Any] = {}
    for losses in (method._generator_losses, method._discriminator_losses, method._classifier_losses):
        found = losses(empty, shared)
        assert found.keys() == {"nothing"}
        assert found["nothing"] == 0
    none = torch.full_like(pairs["source_landmarks"], torch.nan)
    found = method._stage_losses("ld_stage1", with_entries(empty, driving_landmarks=none), shared)
    assert found["nothing"] == 0


def test_training_needs_peoples_numbers(pairs: PairBatch) -> None:
    lacking = cast(PairBatch, {key: value for key, value in pairs.items() if key != "driving_identity"})
    with pytest.raises(InputError, match="driving_identity"):
        build()._stage_losses("ld_stage1", lacking, {})
    with pytest.raises(InputError, match=r"method\.identities=3"):
        build(identities=2)._stage_losses("ld_stage1", pairs, {})


def test_remembered_landmarks_survive_a_checkpoint(pairs: PairBatch) -> None:
    method = build()
    method.max_updates = 10
    method.configure_optimizers()
    method._stages.remember(pairs["source_landmarks"], pairs["source_identity"])
    checkpoint: dict[str, Any] = {"state_dict": method.state_dict()}
    method.on_save_checkpoint(checkpoint)
    again = build()
    again.on_load_checkpoint(checkpoint)
    assert torch.equal(again._stages.memory.state()["points"], pairs["source_landmarks"])
    method.num_updates = 5  # LD-Net has learnt
    checkpoint = {"state_dict": method.state_dict()}
    method.on_save_checkpoint(checkpoint)
    assert "landmark_memory" not in checkpoint["reenact_zoo"]


# --- use ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_dictionaries_are_written_once_and_read_per_frame(pairs: PairBatch) -> None:
    method = build().eval()
    written: list[int] = []
    method.extractor.register_forward_hook(lambda *_: written.append(1))
    one = cast(PairBatch, {key: cast(Any, value)[:1] for key, value in pairs.items()})
    state = method.encode_source(one)
    assert "source" not in state, "nothing but dictionaries is kept of the picture"
    frames = cast(PairBatch, {key: value for key, value in pairs.items() if key.startswith("driving")})
    together = method.drive(state, frames).reenacted
    third = cast(PairBatch, {key: cast(Any, value)[2:] for key, value in frames.items()})
    assert torch.allclose(method.drive(state, third).reenacted[0], together[2], atol=1e-5)
    assert written == [1]


@torch.no_grad()
def test_self_and_cross_pairs_take_one_path(pairs: PairBatch) -> None:
    method = build().eval()
    output = method(pairs)
    assert torch.equal(method(cross(pairs)).reenacted, output.reenacted)
    aim = method.ld_net.personalise(pairs["source_landmarks"], pairs["driving_landmarks"])
    assert torch.allclose(output.aux["landmarks"], aim, atol=1e-6)
    assert output.aux["ld_net_landmarks"].shape == output.aux["driver_landmarks"].shape == (3, 1, SIZE, SIZE)
    method.config.ld_net = False
    raw = method(pairs)
    assert torch.equal(raw.aux["landmarks"], pairs["driving_landmarks"])
    assert torch.equal(raw.aux["ld_net_landmarks"], raw.aux["driver_landmarks"])
    assert not torch.allclose(raw.reenacted, output.reenacted, atol=1e-4)


@torch.no_grad()
def test_a_blended_picture_keeps_the_source_where_its_share_is_nothing(pairs: PairBatch) -> None:
    method = build(blend=True).eval()
    torch.nn.init.zeros_(method.translator.paint.weight)
    method.translator.paint.bias[3] = -30
    output = method(pairs)
    assert torch.allclose(output.reenacted, pairs["source"], atol=1e-5)
    assert output.aux["share"].max() < 1e-5


@torch.no_grad()
def test_smoothing_is_causal_and_lasts_from_call_to_call(pairs: PairBatch) -> None:
    method = build(smoothing=0.75).eval()
    one = cast(PairBatch, {key: cast(Any, value)[:1] for key, value in pairs.items()})
    frames = cast(PairBatch, {key: value for key, value in pairs.items() if key.startswith("driving")})
    state = method.encode_source(one)
    smooth = method.drive(state, frames).aux["landmarks"]
    method.config.smoothing = 0.0
    plain = method.drive(method.encode_source(one), frames).aux["landmarks"]
    assert torch.allclose(smooth[0], plain[0], atol=1e-5)
    assert smooth.diff(dim=0).norm() < 0.8 * plain.diff(dim=0).norm()
    later = method.drive(state, frames).aux["landmarks"]
    assert not torch.allclose(later[0], plain[0], atol=1e-4), "a clip goes on in the next call"
    assert torch.allclose(method(pairs).aux["landmarks"][0], plain[0], atol=1e-5)


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", sorted(KEYS))
@pytest.mark.parametrize(
    ("kind", "message"), [("fewer", "67"), ("scheme", "98"), ("torn", r"lacks 1 of 68.*row 1"), ("pixels", "pixels")]
)
def test_landmarks_that_cannot_be_used_are_named(kind: str, message: str, key: str, pairs: PairBatch) -> None:
    points = cast("dict[str, Tensor]", pairs)[key]
    torn = points.clone()
    torn[1, 5, 0] = torch.nan
    bad = {"fewer": points[:, :67], "scheme": torch.rand(3, 98, 2), "torn": torn, "pixels": 64 * (points + 1)}[kind]
    with pytest.raises(InputError, match=rf"'{key}'.*{message}"):
        build().eval()(with_entries(pairs, **{key: bad}))


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_missing_face_fails_alone(key: str, pairs: PairBatch) -> None:
    method = build().eval()
    bad = cast("dict[str, Tensor]", pairs)[key].clone()
    bad[1] = torch.nan
    with torch.no_grad():
        whole, image = method(pairs).reenacted, method(with_entries(pairs, **{key: bad})).reenacted
    assert image[1].isnan().all()
    assert torch.allclose(image[[0, 2]], whole[[0, 2]], atol=1e-5)
    method.phases()
    assert all(value.isfinite() for value in method._generator_losses(with_entries(pairs, **{key: bad}), {}).values())


def test_pictures_of_another_size_are_refused_by_both_sizes() -> None:
    with pytest.raises(InputError, match=r"32x32.*64x64"):
        build()(synthetic_batch(64, 1, KEYS))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "grup"}, "group"),
        ({"widths": [8] * 5}, "last map"),
        ({"dictionary_sides": [4], "dictionary_slots": [4]}, r"\[8, 16\]"),
        ({"dictionary_slots": [4]}, "as many"),
        ({"ld_stage1_end": 0.5}, "ld_stage2_end"),
        ({"adversarial_start": 2.0}, "share"),
        ({"smoothing": 1.0}, "smoothing"),
        ({"ld_steps": 0}, "ld_steps"),
    ],
)
def test_a_choice_that_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(**changes)


# --- configurations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(name for name in packaged_names() if name.startswith("ldnet_fdgan")))
def test_every_configuration_is_read(name: str) -> None:
    assert load_train_config(name).method == "ldnet_fdgan"


@torch.no_grad()
def test_the_trained_row_is_small_enough_to_ship_and_to_train() -> None:
    config = load_train_config("ldnet_fdgan_synthetic")
    method = LdnetFdgan(config.method_config)
    tensors = method.state_dict().values()
    assert 2 * sum(t.numel() for t in tensors) < MAX_BYTES - 50_000  # names take some
    assert method.config.identities >= config.dataset_config.train_identities
    batch = synthetic_batch(64, 1, KEYS)
    assert method.discriminator is not None
    assert method.classifier is not None
    counter = FlopCounterMode(display=False)
    with counter:
        made = method.eval()(batch).reenacted
        method.discriminator(torch.cat([made, method._maps(batch["driving_landmarks"])], 1))
        method.classifier(made)
    assert counter.get_total_flops() / 2 < MAX_MACS
