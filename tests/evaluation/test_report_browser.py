"""The page in a real browser: no errors on its console, nothing fetched, sorting, filtering and ordering work."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from report_world import LISTED, make_results

from reenact_zoo.evaluation.report import write_report

CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")

PROBE = """
<script>
const errors = [];
window.addEventListener("error", (e) => errors.push(e.message));
window.addEventListener("load", () => {
  const s = document.querySelector("section#listed"), out = {errors};
  const names = () => [...s.querySelectorAll(".board tbody tr")].map((r) => r.dataset.method);
  const pairs = () => [...s.querySelectorAll(".pair[data-pair]:not([hidden])")].map((p) => Number(p.dataset.pair));
  const rows = () => [...s.querySelectorAll(".values tbody tr")].map((r) => Number(r.dataset.pair));
  const choose = (name, value) => {
    const select = s.querySelector(`select.${name}`);
    select.value = value;
    select.dispatchEvent(new Event("change"));
  };
  const rowOf = (name) => [...s.querySelector("select.judged").options].find((o) => o.textContent === name).value;
  const head = s.querySelector("th[data-sort='0']");
  head.click(); out.up = names(); out.aria = head.getAttribute("aria-sort");
  head.click(); out.down = names();
  s.querySelector("th[data-sort='3']").dispatchEvent(new KeyboardEvent("keydown", {key: "Enter"}));
  out.keyed = names();
  out.listed = [pairs(), rows()];
  const metrics = [...s.querySelector("select.metric").options];
  out.metrics = metrics.map((o) => o.dataset.name);
  out.values = s.querySelector(".values tbody tr[data-pair='1']").textContent;
  choose("sequence", "turned"); out.turned = pairs();
  choose("sequence", "apart"); out.apart = pairs();
  choose("sequence", "worst"); out.worst = pairs();
  choose("judged", rowOf("fake_world:Source"));
  out.worstOfSource = [pairs(), rows()];
  choose("sequence", "best"); out.bestOfSource = pairs();
  s.querySelector(".pills button[data-bin='1']").click();
  out.near = [pairs(), rows()];
  out.binned = s.querySelector("tr[data-method='fake_world:Source'] td .val").textContent;
  s.querySelector(".pills button[data-bin='0']").click();
  choose("metric", "1");
  out.undirected = [s.querySelector("select.sequence").value, s.querySelector("option[value=worst]").disabled, pairs()];
  out.under = s.querySelector(".pair[data-pair='2'] .v").textContent;
  const asides = () => [...s.querySelectorAll(".aside:not([hidden])")].map((a) => a.dataset.aux);
  out.asides = asides();
  choose("beside", "mask"); out.masks = asides();
  choose("against", "fake_world:Level");
  out.matrices = [...s.querySelectorAll(".duels:not([hidden])")].map((d) => d.dataset.metric);
  const before = document.documentElement.dataset.theme;
  document.getElementById("theme").click();
  out.themed = before !== document.documentElement.dataset.theme;
  s.querySelector(".shot img").click();
  out.enlarged = document.querySelector("dialog").open;
  out.loaded = [...document.images].filter((i) => i.src && !i.src.startsWith("data:")).length;
  out.fetched = performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith("data:"));
  const answer = document.createElement("pre");
  answer.id = "answer";
  answer.textContent = JSON.stringify(out);
  document.body.append(answer);
});
</script></head>"""


def ask(page: Path, probe: str, folder: Path) -> tuple[Any, str]:
    """What the probe found, and what the browser wrote on its console."""
    probed = folder / "probed.html"
    probed.write_text(page.read_text(encoding="utf-8").replace("</head>", probe, 1), encoding="utf-8")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    more = [f"--user-data-dir={folder / 'browser'}", "--enable-logging=stderr", "--virtual-time-budget=2000"]
    command = [str(CHROMIUM), *quiet, *more, "--dump-dom", probed.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="answer">(.*?)</pre>', done.stdout)
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    assert found, done.stdout[-2000:] + console
    return json.loads(html.unescape(found[1])), console


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The browser is asked once; every test looks at a part of what it says."""
    page = write_report(make_results(tmp_path_factory))
    found, console = ask(page, PROBE, tmp_path_factory.mktemp("chromium"))
    return {**found, "console": console}


def test_it_loads_without_errors_and_fetches_nothing(answer: Any) -> None:
    assert answer["errors"] == []
    assert answer["console"] == ""
    assert (answer["fetched"], answer["loaded"]) == ([], 0)


def test_the_leaderboard_sorts(answer: Any) -> None:
    assert answer["up"][:2] == ["blur_ceiling", "fake_world:Halfway"]  # the truth itself, and before its rounding
    assert answer["up"][-1] == answer["down"][0] == "shifted"
    assert sorted(answer["up"]) == sorted(answer["down"])
    assert answer["aria"] == "ascending"  # lower is better: the best comes first
    assert set(answer["keyed"][:2]) == {"blur_ceiling", "fake_world:Halfway"}  # by spread, with the keyboard


def test_pairs_are_ordered_by_the_chosen_metric(answer: Any) -> None:
    assert answer["listed"] == [[0, 1, 2, 3, 4]] * 2
    assert answer["turned"] == [4, 3, 2, 1, 0]
    assert answer["apart"][:2] == [2, 4]  # from half a grey level to 140, and to 90
    assert answer["worst"][:3] == [1, 4, 2]  # two without a picture, then the largest error
    assert answer["worstOfSource"] == [[2, 0, 1, 3, 4]] * 2
    assert answer["bestOfSource"] == [4, 0, 1, 3, 2]


def test_pairs_are_filtered_by_turn(answer: Any) -> None:
    assert answer["near"] == [[0, 1]] * 2
    assert answer["binned"] == f"{22 / 255:.3f}"


def test_the_values_of_a_pair_are_shown(answer: Any) -> None:
    assert answer["metrics"] == [f"fake_world:{name}" for name in ("ToTarget", "Level", "FaceLevel")]
    assert answer["values"].startswith("p<1>10°")
    assert "no picture" in answer["values"]
    assert f"{80 / 255:.3f}" in answer["values"]


def test_without_a_direction_nothing_is_best(answer: Any) -> None:
    assert answer["undirected"] == ["listed", True, [0, 1, 2, 3, 4]]
    assert re.fullmatch(r"0\.\d{3}", answer["under"])


def test_masks_and_comparisons_appear_when_chosen(answer: Any) -> None:
    assert answer["asides"] == []
    assert answer["masks"] == ["mask"] * 5
    assert answer["matrices"] == ["fake_world:Level"]
    assert (answer["themed"], answer["enlarged"]) == (True, True)


def test_the_protocol_of_the_probe_is_the_one_that_was_made() -> None:
    assert f"section#{LISTED}" in PROBE
