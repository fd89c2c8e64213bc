"""dcg_gan as a method: it learns, its samples are what the paper says, and bad input is told."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from reenact_zoo.config import load_train_config, packaged_names
from reenact_zoo.faces.coefficients import LAYOUT
from reenact_zoo.methods import _sampling
from reenact_zoo.methods.dcg_gan import sampling
from reenact_zoo.methods.dcg_gan.config import Config
from reenact_zoo.methods.dcg_gan.correspondence import Corr
from reenact_zoo.methods.dcg_gan.generator import Gen
from reenact_zoo.methods.dcg_gan.losses import LossWeights
from reenact_zoo.methods.dcg_gan.module import DcgGan
from reenact_zoo.testing import overfit, synthetic_batch
from reenact_zoo.types import InputError, PairBatch

SIZE = Config.tiny().image_size
KEYS = DcgGan.requires | DcgGan.training_requires | {"source_identity", "driving_identity"}


def build(**changes: Any) -> DcgGan:
    torch.manual_seed(0)
    tiny = Config.tiny()
    for part in ("corr", "gen", "losses"):
        own = {name.partition(".")[2]: changes.pop(name) for name in list(changes) if name.startswith(f"{part}.")}
        changes[part] = dataclasses.replace(getattr(tiny, part), **own)
    return DcgGan(dataclasses.replace(tiny, **changes))


def pairs(count: int = 2, seed: int = 0) -> PairBatch:
    return synthetic_batch(SIZE, count, KEYS, seed=seed)


def with_entries(batch: PairBatch, **entries: Any) -> PairBatch:
    return cast(PairBatch, {**batch, **entries})


def total(parts: dict[str, Tensor]) -> float:
    return float(torch.stack(list(parts.values())).sum().detach())


# --- sampling -------------------------------------------------------------------------------------------------------


def test_unpaired_rows_get_everything_of_another_persons_frame() -> None:
    batch = pairs(6)
    torch.manual_seed(0)
    mixed = sampling.hybrid(batch, 0.0)
    assert not mixed["same_identity"].any()
    assert torch.equal(mixed["source"], batch["source"])
    assert torch.equal(mixed["source_landmarks"], batch["source_landmarks"])
    assert (mixed["driving_identity"] != batch["source_identity"]).all()
    for row, taken in enumerate(mixed["driving_identity"].tolist()):
        for key in ("driving", "driving_landmarks", "driving_coefficients", "driving_parsing"):
            assert torch.equal(cast(Any, mixed)[key][row], cast(Any, batch)[key][taken])
    assert torch.equal(sampling.hybrid(batch, 1.0)["driving"], batch["driving"])


def test_the_paired_share_is_the_probability() -> None:
    rows = torch.arange(2000)
    identity = {f"{role}_identity": rows % 50 for role in ("source", "driving")}
    batch = {"source": rows, "driving": rows, "same_identity": rows >= 0, **identity}
    torch.manual_seed(0)
    assert sampling.hybrid(cast(PairBatch, batch), 0.7)["same_identity"].float().mean() == pytest.approx(0.7, abs=0.04)


def test_rows_of_one_person_alone_stay_paired_and_unpaired_ones_stay_unpaired() -> None:
    one = with_entries(pairs(3), source_identity=torch.zeros(3).long(), driving_identity=torch.zeros(3).long())
    assert sampling.hybrid(one, 0.0)["same_identity"].all()
    cross = with_entries(pairs(3), same_identity=torch.zeros(3, dtype=torch.bool))
    assert torch.equal(sampling.hybrid(cross, 0.5)["driving"], cross["driving"])


def test_landmark_noise_is_in_units_of_the_eyes_distance() -> None:
    points = pairs(1)["source_landmarks"].repeat(300, 1, 1)
    torch.manual_seed(0)
    moved = _sampling.as_detected(points, 0.04) - points
    own = moved - moved.mean(1, keepdim=True)
    eyes = (points[0, 36:42].mean(0) - points[0, 42:48].mean(0)).norm()
    assert 0.035 < float(own.std() / eyes) < 0.045
    assert _sampling.as_detected(points, 0.0) is points


# --- training -------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # the contract's own test of thirty updates is in the default run
def test_thirty_updates_on_one_pair_halve_the_pixel_loss() -> None:
    alone = {f"losses.{name}": 0.0 for name in ("identity", "geometry", "adversarial")}
    method, batch = build(landmark_noise=0.0, **{"gen.widths": [8, 8, 8], **alone}), pairs(1)
    before = method._generator_losses(batch, {})
    overfit(method, batch, 30)
    method.num_updates = 0
    after = method.train()._generator_losses(batch, {})
    assert after["colour"] < before["colour"] / 2
    assert total(after) < total(before)


def test_training_looks_at_estimated_coefficients_and_use_at_given_ones() -> None:
    method, batch = build(landmark_noise=0.0, paired_start=1.0, paired_end=1.0), pairs()
    still = torch.zeros(2, LAYOUT.total)
    other = with_entries(batch, driving_coefficients=still, source_coefficients=still)
    pair, same = method._pair(batch), method._pair(other)
    assert pair is not None
    assert same is not None
    assert torch.equal(pair.proxy.image, same.proxy.image)
    method.eval()
    sideways = still.clone()
    LAYOUT.split(sideways)["pose"][:, 0] = 30.0
    turned = with_entries(other, driving_coefficients=sideways)
    with torch.no_grad():
        frontal, aside = method(other).aux["proxy"], method(turned).aux["proxy"]
    assert (frontal - aside).abs().mean() > 0.01
    method.config.training_coefficients = "given"
    given = method._pair(other)
    assert given is not None
    assert torch.allclose(given.proxy.image, frontal, atol=0.05)


def test_the_adversarial_term_begins_with_the_discriminator() -> None:
    method, batch = build(**{"losses.adversarial_start": 0.5}), pairs()
    method.max_updates = 20
    start = {phase.name: phase.start for phase in method.phases()}["discriminator"]
    assert start == 10
    for update, present in ((start - 1, False), (start, True)):
        method.num_updates = update
        shared: dict[str, Any] = {}
        assert ("adversarial" in method._generator_losses(batch, shared)) == present
    hinge = method._discriminator_losses(batch, shared)["hinge"]
    hinge.backward()
    assert all(p.grad is not None for p in cast(Any, method.discriminator).parameters())
    assert all(p.grad is None for p in method.generator.parameters())
    assert build(**{"losses.adversarial": 0.0}).discriminator is None


def test_terms_that_need_the_truth_are_of_paired_rows_alone() -> None:
    method, batch = build(judge_every=1), pairs()
    method.max_updates, method.num_updates = 10, 5
    cross = with_entries(batch, same_identity=torch.zeros(2, dtype=torch.bool))
    always = {"proxy_warp", "cycle", "identity", "geometry", "adversarial"}
    assert method._generator_losses(cross, {}).keys() == always
    method.config.paired_start = method.config.paired_end = 1.0
    assert method._generator_losses(batch, {}).keys() == always | {"colour", "gradient", "parsing"}
    lacking = cast(PairBatch, {key: value for key, value in batch.items() if key != "driving_parsing"})
    assert method._generator_losses(lacking, {}).keys() == always | {"colour", "gradient"}


def test_the_cycle_comes_at_every_so_many_updates_and_counts_that_many_times() -> None:
    method, batch, found = build(), pairs(), []
    for every, update in ((1, 2), (2, 2), (2, 3)):
        method.config.cycle_every, method.max_updates, method.num_updates = every, 10, update
        torch.manual_seed(0)  # the sampling of persons and of landmark noise
        found.append(method._generator_losses(batch, {}).get("cycle"))
    once, twice, never = found
    assert once is not None
    assert twice is not None
    assert never is None
    assert once > 0
    assert torch.allclose(twice, 2 * once)


def test_a_batch_without_a_usable_row_trains_nothing() -> None:
    method, batch = build(), pairs()
    empty = with_entries(batch, source_landmarks=torch.full((2, 68, 2), torch.nan))
    shared: dict[str, Any] = {}
    assert total(method._generator_losses(empty, shared)) == 0
    assert total(method._discriminator_losses(empty, shared)) == 0


@pytest.mark.parametrize("variant", [{"corr.inputs": ["parsing"]}, {"gen.afm": "bottom_only"}])
def test_the_ablations_of_the_paper_run_and_train(variant: dict[str, Any]) -> None:
    method, batch = build(**variant), pairs()
    parts = method._generator_losses(batch, {})
    torch.stack(list(parts.values())).sum().backward()
    for network in (method.estimator, method.generator):
        assert all(p.grad is not None for p in network.parameters())
    with torch.no_grad():
        assert method.eval()(batch).reenacted.isfinite().all()


def test_what_is_warped_comes_from_the_source() -> None:
    method, batch = build().eval(), pairs()
    colour = torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1)
    with torch.no_grad():
        aux = method(with_entries(batch, source=colour.expand(2, 3, SIZE, SIZE))).aux
    assert torch.allclose(aux["warped"], colour.expand_as(aux["warped"]), atol=1e-4)
    assert aux.keys() == {"source_proxy", "proxy", "warped", "warped_proxy", "warped_parsing"}
    assert aux["warped_parsing"].shape == aux["warped"].shape


def test_pictures_of_another_size_and_landmarks_of_another_scheme_are_refused() -> None:
    method = build().eval()
    with pytest.raises(InputError, match=r"32x32.*64x64"):
        method(synthetic_batch(64, 1, DcgGan.requires))
    with pytest.raises(InputError, match=r"driving_landmarks.*68.*98"):
        method(with_entries(pairs(1), driving_landmarks=torch.rand(1, 98, 2)))


def test_a_choice_that_cannot_work_is_refused() -> None:
    with pytest.raises(InputError, match="head is 'flam'; did you mean 'flame'"):
        Config(head="flam")
    with pytest.raises(InputError, match="probabilities"):
        Config(paired_start=0.5, paired_end=0.8)
    for name in ("judge_every", "cycle_every"):
        with pytest.raises(InputError, match=name):
            Config(**{name: 0})


@pytest.mark.parametrize("name", sorted(name for name in packaged_names() if name.startswith("dcg_gan")))
@pytest.mark.parametrize(("inputs", "afm"), [("proxy,landmark,parsing", "on"), ("parsing", "bottom_only")])
def test_every_configuration_is_read_and_takes_the_papers_variants(name: str, inputs: str, afm: str) -> None:
    config = load_train_config(name, [f"method.corr.inputs=[{inputs}]", f"method.gen.afm={afm}"])
    assert config.method == "dcg_gan"
    assert config.method_config.corr.inputs == inputs.split(",")
    assert config.method_config.gen.afm == afm


def test_the_voxceleb_configuration_has_the_papers_numbers() -> None:
    config = load_train_config("dcg_gan_voxceleb").method_config
    assert (config.corr, config.gen, config.losses) == (Corr.paper(), Gen.paper(), LossWeights.paper())
