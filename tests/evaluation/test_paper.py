"""Published numbers: complete, as printed, and consistent with what the papers say about them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from reenact_zoo.evaluation.paper import Published, load_paper, load_tables, paper_names, published
from reenact_zoo.evaluation.protocol import load_protocol
from reenact_zoo.registry import METHODS, METRICS
from reenact_zoo.types import InputError

Cells = dict[tuple[str, str, str], Published]


@pytest.fixture(scope="module")
def table1() -> Cells:
    (table,) = load_tables("dcg_gan/table1")[1].values()
    return {(cell.setting, cell.row, cell.column): cell for cell in published(table)}


def test_table_1_has_six_dataset_pairs_36_rows_and_144_cells(table1: Cells) -> None:
    assert len(table1) == 144
    rows = {(setting, row) for setting, row, _ in table1}
    assert len(rows) == 36
    counts: dict[str, int] = {}
    for setting, _ in rows:
        counts[setting] = counts.get(setting, 0) + 1
    own, other = (
        ["ffpp_ffpp", "celebdf_celebdf"],
        ["ffpp_celebdf", "celebdf_ffpp", "ffpp_voxceleb1", "celebdf_voxceleb1"],
    )
    assert counts == {**dict.fromkeys(own, 8), **dict.fromkeys(other, 5)}
    assert all(cell.std is not None and cell.digits == 2 for cell in table1.values())


@pytest.mark.parametrize(
    ("setting", "row", "column", "mean", "std"),
    [
        ("ffpp_ffpp", "one_shot", "cosim", 0.34, 0.12),
        ("ffpp_ffpp", "fomm", "pose_mse", 11.42, 6.55),
        ("ffpp_ffpp", "dcg_gan_sdg", "cosim", 0.07, 0.09),
        ("ffpp_ffpp", "dcg_gan", "exp_mse2", 3.42, 0.70),
        ("celebdf_celebdf", "latent_pose", "pose_mse", 12.13, 8.67),
        ("celebdf_celebdf", "dcg_gan_sg", "exp_mse1", 1.49, 0.66),
        ("celebdf_celebdf", "dcg_gan_sdg", "exp_mse2", 3.95, 0.75),
        ("ffpp_celebdf", "bilayer", "exp_mse1", 1.40, 0.59),
        ("ffpp_celebdf", "dcg_gan", "pose_mse", 10.01, 5.54),
        ("celebdf_ffpp", "fomm", "cosim", 0.90, 0.09),
        ("celebdf_ffpp", "one_shot", "exp_mse2", 3.34, 0.66),
        ("ffpp_voxceleb1", "bilayer", "exp_mse2", 3.61, 0.64),
        ("ffpp_voxceleb1", "dcg_gan", "cosim", 0.81, 0.11),
        ("celebdf_voxceleb1", "fomm", "pose_mse", 10.18, 7.16),
        ("celebdf_voxceleb1", "dcg_gan", "exp_mse2", 3.42, 0.75),
    ],
)
def test_cells_of_table_1(table1: Cells, setting: str, row: str, column: str, mean: float, std: float) -> None:
    cell = table1[setting, row, column]
    assert (cell.mean, cell.std) == (mean, std)


def test_what_is_known_about_table_1_as_a_whole_holds_in_the_transcription(table1: Cells) -> None:
    def wins(row: str, other: str, column: str, lower: bool = True) -> int:
        pairs = [
            (table1[s, row, column].mean, table1[s, other, column].mean) for s in dict.fromkeys(s for s, _, _ in table1)
        ]
        return sum(a < b if lower else a > b for a, b in pairs)

    # read independently of the cells; one wrong digit in any of these columns is likely to change a count
    assert wins("dcg_gan", "fomm", "pose_mse") == 6
    assert wins("dcg_gan", "fomm", "exp_mse1") == 6
    assert wins("dcg_gan", "fomm", "exp_mse2") == 5
    assert wins("fomm", "dcg_gan", "cosim", lower=False) == 5
    assert wins("one_shot", "dcg_gan", "exp_mse2") == 4
    for setting in ("ffpp_ffpp", "celebdf_celebdf"):
        for variant in ("dcg_gan_sd", "dcg_gan_sg", "dcg_gan_sdg"):
            better = [table1[setting, "dcg_gan", c].mean < table1[setting, variant, c].mean for c in ("pose_mse",)]
            assert all(better)
            assert table1[setting, "dcg_gan", "cosim"].mean > table1[setting, variant, "cosim"].mean
    one_shot = [cell.mean for (_, row, column), cell in table1.items() if (row, column) == ("one_shot", "cosim")]
    assert (min(one_shot), max(one_shot)) == (0.28, 0.34)
    assert max(cell.mean for (_, _, column), cell in table1.items() if column == "exp_mse1") == 1.56
    assert min(cell.mean for (_, _, column), cell in table1.items() if column == "pose_mse") == 3.63


def test_dataset_pairs_stand_for_protocols_with_the_same_data_sets() -> None:
    (table,) = load_tables("dcg_gan/table1")[1].values()
    for key, setting in table.settings.items():
        protocol = load_protocol(str(setting.protocol))
        names = list(protocol.dataset.config.get("parts", [])) or [protocol.dataset.name]
        wanted = {"voxceleb" if name == "voxceleb1" else name for name in key.split("_")}
        assert set(names) == wanted, key
        assert protocol.setting == setting.kind == "cross"


def test_one_shots_figures_are_there_and_marked_as_uncertain() -> None:
    tables = load_paper("one_shot").tables
    cells = {f"{key}/{cell.address}": cell for key, table in tables.items() for cell in published(table)}
    means = {address: cell.mean for address, cell in cells.items()}
    assert means == {
        "evaluation/wild_1/with_fusion/identity_preservation": 98.2,
        "evaluation/wild_1/with_fusion/au_consistency": 71.1,
        "evaluation/wild_1/with_fusion/pose_consistency": 2.63,
        "evaluation/wild_3/with_fusion/identity_preservation": 99.3,
        "evaluation/wild_5/with_fusion/identity_preservation": 99.4,
        "evaluation/cross_source/without_fusion/identity_preservation": 89.1,
        "ablation/ablation/no_concatenation/identity_preservation": 77.7,
        "ablation/ablation/concatenation/identity_preservation": 89.1,
        "ablation/ablation/concatenation/gain": 11.4,
        "ablation/all/fusion/gain": 8.1,
    }
    sure = [address for address, cell in cells.items() if not cell.uncertain]
    assert sure == ["ablation/all/fusion/gain"]


def test_speeds_of_ldnet_and_fdgan() -> None:
    (table,) = load_tables("ldnet_fdgan/speed")[1].values()
    assert {cell.row: cell.mean for cell in published(table)} == {"ld_net": 0.02, "fd_gan": 0.08}
    assert "TITAN X" in table.settings["titan_x"].title


def test_a_paper_without_a_number_says_so() -> None:
    with pytest.raises(InputError, match=r"no published number of 'flow_renderer' could be found: No table"):
        load_tables("flow_renderer")


@pytest.mark.parametrize("name", paper_names())
def test_every_paper_agrees_with_what_is_registered(name: str) -> None:
    for table in load_paper(name).tables.values():
        for column in table.columns.values():
            if column.metric in METRICS.names():
                assert METRICS.get(str(column.metric)).card.higher_is_better == column.higher_is_better
        for row in table.rows.values():
            if row.method in METHODS.names():
                known = METHODS.get(str(row.method)).Config.__dataclass_fields__
                assert {key.partition(".")[0] for key in row.config} <= set(known), row.title


# --- refusals -----------------------------------------------------------------------------------------------------


PAPER: dict[str, Any] = {
    "name": "made_up",
    "title": "A paper",
    "authors": "Nobody",
    "reference": "nowhere",
    "tables": {
        "t": {
            "title": "Numbers",
            "where": "Table 1",
            "columns": {"c": {"title": "C", "higher_is_better": True, "metric": "l1"}},
            "settings": {"s": {"title": "S", "protocol": "synthetic_self_64"}},
            "rows": {"r": {"title": "R", "method": "copy_source"}},
            "cells": {"s": {"r": {"c": "0.50±0.10"}}},
        }
    },
}
Change = Callable[[dict[str, Any]], Any]


def written(folder: Path, change: Change) -> str:
    content = copy.deepcopy(PAPER)
    change(content["tables"]["t"])
    path = folder / "made_up.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


def test_a_paper_of_ones_own_is_read_from_its_file(tmp_path: Path) -> None:
    (cell,) = published(load_paper(written(tmp_path, lambda table: None)).tables["t"])
    assert (cell.address, cell.mean, cell.std, cell.digits, cell.text) == ("s/r/c", 0.5, 0.1, 2, "0.50±0.10")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["cells"]["s"]["r"].update(c=0.5), "put the number 0.5 at t/s/r/c in quotation marks"),
        (lambda t: t["cells"]["s"]["r"].update(c="0.5 ± x"), "s/r/c is '0.5 ± x', which is no number"),
        (lambda t: t["cells"]["s"].update(q={"c": "1"}), "row 'q' of a cell is not described"),
        (lambda t: t["cells"]["s"]["r"].update(d="1"), "column 'd' of a cell is not described"),
        (lambda t: t["rows"].update(q={"title": "Q", "method": "fomm"}), "row 'q' is described but has no cell"),
        (lambda t: t["rows"]["r"].pop("method"), "'r' has no method; say under not_comparable why"),
        (lambda t: t["settings"]["s"].update(protocol="synthetic_self_65"), "unknown protocol 'synthetic_self_65'"),
        (lambda t: t["columns"]["c"].update(unitt="%"), "unknown key 'tables.columns.unitt'; did you mean 'unit'"),
        (lambda t: t["columns"]["c"].update(higher_is_better="yes please"), "higher_is_better"),
        (lambda t: t.update(uncertain=[{"cells": "x/*", "why": "?"}]), "no cell is called 'x/*'"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, change: Change, message: str) -> None:
    with pytest.raises(InputError) as error:
        load_paper(written(tmp_path, change))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_misspelt_papers_and_tables_suggest_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'dcg_gan'"):
        load_tables("dcg_gn/table1")
    with pytest.raises(InputError, match="did you mean 'table1'"):
        load_tables("dcg_gan/tabel1")
