"""The page: one file, nothing fetched, every number from the records; it sorts and filters in a real browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_world import FakeMeasurer

from reenact_zoo.evaluation.report import plots, write_report
from reenact_zoo.evaluation.runner import run
from reenact_zoo.types import InputError

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def results(write_protocol: Any, tmp_path: Path) -> Path:
    """Two protocols, three methods; turns known for one of them, failures in one method."""
    (tmp_path / "pairs").mkdir()
    rows = [f"p<{i}>,c0@{i},c{1 + i % 2}@{1 + i % 4},,false,{10 * i}" for i in range(5)]
    head = "pair_id,source,driving,driving_reference,same_identity,delta_yaw_deg"
    (tmp_path / "pairs" / "some.csv").write_text("\n".join([head, *rows]) + "\n")
    listed = write_protocol("listed", pairs="some.csv", pair_rule=None, title="Some & <few> pairs")
    for protocol in (listed, write_protocol("drawn", setting="self")):
        for method in ("Source", "Halfway", "NaNOnBright"):
            run(protocol, f"fake_world:{method}", out=tmp_path, progress=False, measurer=FakeMeasurer())
    return tmp_path


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_fetches_nothing(results: Path) -> None:
    text = write_report(results).read_text(encoding="utf-8")
    links = _Links()
    links.feed(text)
    assert all(link.startswith(("data:", "#")) for link in links.found)
    assert not re.search(r"@import|url\((?!['\"]?(data:|#))", text)
    assert links.tags.count("section") == 3  # two protocols and the conditions


def test_text_from_files_is_escaped(results: Path) -> None:
    text = write_report(results).read_text(encoding="utf-8")
    assert "Some &amp; &lt;few&gt; pairs" in text
    assert "p<0>" not in text


def test_every_mean_of_the_records_is_on_the_page(results: Path) -> None:
    from reenact_zoo.evaluation.records import read_records

    text = write_report(results).read_text(encoding="utf-8")
    shown = [v for r in read_records(results) for v in r.metrics.values() if v.mean is not None]
    assert len(shown) > 10
    for result in shown:
        assert f'<span class="val">{result.mean:.3f}</span>' in text


def test_means_by_turn_are_those_of_the_pairs(results: Path) -> None:
    from reenact_zoo.evaluation.records import read_records
    from reenact_zoo.evaluation.report.sections import Values

    record = next(r for r in read_records(results) if r.protocol == "listed" and r.method.endswith("Source"))
    values = Values.of(record)
    assert values.counts() == [2, 1, 2]  # 0, 10 | 20 | 30, 40: an edge belongs to the bin above it
    of_pairs = record.pair_values().column("metric:fake_world:Level").to_pylist()
    assert values.by_yaw("fake_world:Level") == pytest.approx(
        [np.mean(of_pairs[:2]), of_pairs[2], np.mean(of_pairs[3:])]
    )
    assert [values.bin_of(f"p<{i}>") for i in range(5)] == [0, 0, 1, 2, 2]


def test_the_truth_has_a_column_only_where_it_is_known(write_protocol: Any, tmp_path: Path) -> None:
    blind = write_protocol("blind", dataset_truth=False)
    run(blind, "fake_world:Source", out=tmp_path, progress=False, measurer=FakeMeasurer())
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert '<span class="in">truth</span>' not in text
    assert "nobody knows the true pictures" in text
    run(write_protocol("known"), "fake_world:Source", out=tmp_path, progress=False, measurer=FakeMeasurer())
    assert write_report(tmp_path).read_text(encoding="utf-8").count('<span class="in">truth</span>') == 1


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run a benchmark first"):
        write_report(tmp_path)


def test_a_lost_picture_is_named(results: Path) -> None:
    lost = next(results.glob("gallery/*/*/*.png"))
    lost.unlink()
    with pytest.raises(InputError, match=re.escape(lost.name)):
        write_report(results)


def test_a_drawing_is_valid_xml_and_takes_its_colours_from_the_page() -> None:
    series = [plots.Series("a_b", "--method-0"), plots.Series("copy", "--bound-0", dashed=True)]
    values = [np.array([1.0, 2.0, np.nan]), np.array([np.nan])]
    drawing = plots.metric_plot(series, values, [[1.0, np.nan], [np.nan, np.nan]], ("0–15°", "15–30°"), salt="x")
    ET.fromstring(drawing.replace("xlink:href", "href"))
    assert "var(--method-0)" in drawing
    assert not re.search(r"#[0-9a-f]{6}(?![0-9a-f])", re.sub(r'(id|href|clip-path)="[^"]*"', "", drawing))
    again = plots.metric_plot(series, values, [[1.0, np.nan], [np.nan, np.nan]], ("0–15°", "15–30°"), salt="x")
    assert drawing == again


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")
def test_sorting_filtering_and_theme_work_in_a_browser(results: Path) -> None:
    page = write_report(results)
    probe = """
    <script>
    const errors = []; window.addEventListener("error", (e) => errors.push(e.message));
    window.addEventListener("load", () => {
      const s = document.querySelector("section#listed"), out = {errors};
      const names = () => [...s.querySelectorAll(".board tbody tr")].map((r) => r.dataset.method.split(":")[1]);
      const shown = () => s.querySelectorAll(".pair[data-bin]:not([hidden])").length;
      const head = s.querySelector("th[data-sort='0']");
      head.click(); out.up = names(); out.aria = head.getAttribute("aria-sort");
      head.click(); out.down = names();
      out.all = shown();
      s.querySelector(".pills button[data-bin='1']").click();
      out.near = shown();
      out.text = s.querySelector("tr[data-method$=Source] td .val").textContent;
      const before = document.documentElement.dataset.theme;
      document.getElementById("theme").click();
      out.themed = before !== document.documentElement.dataset.theme;
      const select = s.querySelector("select.metric"); select.value = "fake_world:Level";
      select.dispatchEvent(new Event("change"));
      out.value = s.querySelector(".v").textContent;
      const answer = document.createElement("pre"); answer.id = "answer"; answer.textContent = JSON.stringify(out);
      document.body.append(answer);
    });
    </script></head>"""
    page.write_text(page.read_text(encoding="utf-8").replace("</head>", probe, 1), encoding="utf-8")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    folder = f"--user-data-dir={results / 'browser'}"
    command = [str(CHROMIUM), *quiet, folder, "--virtual-time-budget=2000", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    found = re.search(r'<pre id="answer">(.*?)</pre>', dom)
    assert found, dom[-2000:]
    answer = json.loads(html.unescape(found[1]))
    assert answer["errors"] == []
    assert answer["up"][0] == "Halfway"  # the true target itself
    assert answer["down"] == answer["up"][::-1]
    assert answer["aria"] == "ascending"  # lower is better: the best comes first
    assert (answer["all"], answer["near"]) == (5, 2)
    assert answer["themed"]
    assert re.fullmatch(r"0\.\d{3}", answer["text"])
    assert re.fullmatch(r"0\.\d{3}", answer["value"])
