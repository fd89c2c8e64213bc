"""People as judges: a kit that does not tell who made what, and answers that come back as they were given."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_world import FakeMeasurer
from PIL import Image

from reenact_zoo.evaluation.records import read_records
from reenact_zoo.evaluation.runner import run
from reenact_zoo.evaluation.statistics import bootstrap_interval
from reenact_zoo.evaluation.study import Kit, fleiss_kappa, make_study, read_study, sheet
from reenact_zoo.types import InputError

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
METHODS = ("Source", "Halfway", "Brightened")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods on twelve pairs."""
    from fake_world import protocol_writer

    folder = tmp_path_factory.mktemp("results")
    protocol = protocol_writer(folder)(pair_rule={"frames": 2}, metrics=["fake_world:Level"])
    for method in METHODS:
        run(protocol, f"fake_world:{method}", out=folder, progress=False, measurer=FakeMeasurer())
    return folder


@pytest.fixture
def kit(results: Path, tmp_path: Path) -> Kit:
    return make_study(results, tmp_path / "kit", questions=30, seed=4)


def keyed(kit: Kit) -> list[dict[str, str]]:
    with kit.key.open(newline="") as file:
        return list(csv.DictReader(file))


def asked(kit: Kit) -> list[dict[str, str]]:
    found = re.search(r"const QUESTIONS = (\[.*\]);", kit.page.read_text(encoding="utf-8"))
    assert found
    questions: list[dict[str, str]] = json.loads(found[1])
    return questions


def level(uri: str) -> int:
    with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))) as image:
        assert not image.info
        return int(np.asarray(image)[0, 0, 0])


def write_answers(path: Path, kit: Kit, rater: str, given: dict[int, str]) -> Path:
    lines = [f"{kit.name},{rater},{question},{answer},1.5" for question, answer in given.items()]
    path.write_text("\n".join(["kit,rater,question,answer,seconds", *lines]) + "\n")
    return path


# --- the kit ----------------------------------------------------------------------------------------------------------


def test_the_page_tells_no_method_and_no_file(kit: Kit, results: Path) -> None:
    text = kit.page.read_text(encoding="utf-8")
    outside = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    names = {"fake_world", "greys_cross", "gallery", str(results), *METHODS, *(p.stem for p in results.rglob("*.png"))}
    names |= {row["pair_id"] for row in keyed(kit)}
    assert [name for name in names if name in outside] == []
    assert sorted(path.name for path in kit.page.parent.iterdir()) == ["key.csv", "study.html"]
    assert not re.search(r'(src|href)="|https?:|@import|url\(', outside)  # works from disk, fetches nothing
    assert set(asked(kit)[0]) == {"source", "driving", "left", "right"}


def test_the_key_says_who_made_which_picture(kit: Kit) -> None:
    rows = keyed(kit)
    assert [int(row["question"]) for row in rows] == list(range(1, 31))
    for row, shown in zip(rows, asked(kit), strict=True):
        source, driving = level(shown["source"]), level(shown["driving"])
        expected = {"Source": source, "Halfway": (source + driving) / 2, "Brightened": source + 51}
        for side in ("left", "right"):
            assert level(shown[side]) == pytest.approx(expected[row[side].split(":")[1]], abs=1), (row, side)


def test_every_two_methods_meet_equally_often_on_random_sides(kit: Kit) -> None:
    rows = keyed(kit)
    met = [frozenset((row["left"], row["right"])) for row in rows]
    assert sorted(met.count(names) for names in set(met)) == [10, 10, 10]
    assert len({(names, row["pair_id"]) for names, row in zip(met, rows)}) == 30  # no question twice
    for method in METHODS:
        assert 4 <= sum(row["left"].endswith(method) for row in rows) <= 16
    assert [row["pair_id"] for row in rows] != sorted(row["pair_id"] for row in rows)
    assert met != sorted(met, key=sorted)


def test_the_seed_decides_the_kit(kit: Kit, results: Path, tmp_path: Path) -> None:
    again = make_study(results, tmp_path / "again", questions=30, seed=4)
    other = make_study(results, tmp_path / "other", questions=30, seed=5)
    assert again.page.read_bytes() == kit.page.read_bytes()
    assert again.key.read_bytes() == kit.key.read_bytes()
    assert other.name != kit.name


def test_only_the_methods_that_are_asked_for(results: Path, tmp_path: Path) -> None:
    chosen = [record.title for record in read_records(results) if not record.title.endswith("Halfway")]
    kit = make_study(results, tmp_path / "two", methods=chosen, questions=100)
    assert {row["left"] for row in keyed(kit)} == set(chosen)
    assert kit.num_questions == 12
    with pytest.raises(InputError, match="did you mean 'fake_world:Halfway'"):
        make_study(results, tmp_path / "none", methods=["fake_world:Halfwey", chosen[0]])
    with pytest.raises(InputError, match="no two methods"):
        make_study(results, tmp_path / "one", methods=chosen[:1])
    with pytest.raises(InputError, match="run a benchmark first"):
        make_study(tmp_path, tmp_path / "none")


# --- the answers ------------------------------------------------------------------------------------------------------


def test_answers_are_read_as_they_were_given(kit: Kit, tmp_path: Path) -> None:
    rows = keyed(kit)

    def fan(favourite: str) -> dict[int, str]:
        """Prefers one method wherever it is shown; else sees no difference."""
        sides = {"left": "left", "right": "right"}
        return {int(row["question"]): next((s for s in sides if row[s].endswith(favourite)), "same") for row in rows}

    files = [write_answers(tmp_path / f"{name}.csv", kit, name, fan("Halfway")) for name in ("anna", "ben")]
    files.append(write_answers(tmp_path / "cleo.csv", kit, "cleo", fan("Source")))
    found = read_study(kit.page.parent, files)
    duels = {(d.first.split(":")[1], d.second.split(":")[1]): d for d in found.duels}
    assert set(duels) == {("Brightened", "Halfway"), ("Brightened", "Source"), ("Halfway", "Source")}
    halfway = duels["Halfway", "Source"]
    assert (halfway.wins, halfway.losses, halfway.ties) == (20, 10, 0)
    assert halfway.preference == pytest.approx(2 / 3)
    # Wilson's score interval of 20 of 30, closed form
    z, n, share = 1.959963984540054, 30, 2 / 3
    centre, half = share + z**2 / (2 * n), z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert halfway.wilson == pytest.approx(((centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)))
    bright = duels["Brightened", "Halfway"]
    assert (bright.wins, bright.losses, bright.ties) == (0, 20, 10)
    assert bright.preference == pytest.approx(1 / 6)
    assert (found.num_answers, found.raters) == (90, ("anna", "ben", "cleo"))
    met = [row for row in rows if {row["left"], row["right"]} == {halfway.first, halfway.second}]
    scores = np.array([1.0, 1.0, 0.0] * len(met))
    people, pairs = (
        ["anna", "ben", "cleo"] * len(met),
        [f"{r['protocol']} {r['pair_id']}" for r in met for _ in range(3)],
    )
    expected = bootstrap_interval(scores, people, pairs)
    assert expected is not None
    assert halfway.interval == pytest.approx(expected)
    text = sheet(found).markdown()
    assert "fake_world:Halfway over fake_world:Source | 67%" in text
    assert "two judges agree in 33% of cases" in text  # anna and ben always, cleo with neither


def test_fleiss_kappa_is_that_of_a_worked_example() -> None:
    # 10 subjects, 14 judges, 5 categories: https://en.wikipedia.org/wiki/Fleiss%27_kappa#Worked_example
    rows = "0 0 0 0 14|0 2 6 4 2|0 0 3 5 6|0 3 9 2 0|2 2 8 1 1|7 7 0 0 0|3 2 6 3 0|2 5 3 2 2|6 5 2 1 0|0 2 2 3 7"
    counts = np.array([[int(n) for n in row.split()] for row in rows.split("|")])
    agreement, kappa = fleiss_kappa(counts)
    assert agreement == pytest.approx(0.378, abs=5e-4)
    assert kappa == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa(np.array([[1, 0], [0, 1]])) == (None, None)
    assert fleiss_kappa(np.array([[2, 0], [3, 0]])) == (1.0, None)
    # a question of one judge changes nothing
    alone = np.concatenate([counts, [[1, 0, 0, 0, 0]]])
    assert fleiss_kappa(alone) == (agreement, kappa)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kit,rater,question\n", "column 'answer' is missing"),
        ("kit,rater,question,answer\nKIT,anna,1,middle\n", "line 2: answer is left, right, same, not 'middle'"),
        ("kit,rater,question,answer\nKIT,anna,31,left\n", "line 2: the kit has no question 31"),
        ("kit,rater,question,answer\nKIT,anna,one,left\n", "line 2: question is a number, not 'one'"),
        ("kit,rater,question,answer\nKIT,anna,1,left\nother,anna,2,left\n", "line 3: an answer to kit other"),
        (
            "kit,rater,question,answer\nKIT,anna,1,left\nKIT,anna,1,right\n",
            "'anna' answered question 1 already",
        ),
        ("kit,rater,question,answer\nKIT,anna,1\n", "line 2: 'answer' is empty"),
        ("kit,rater,question,answer\n", "no answers to read"),
    ],
)
def test_malformed_answers_give_one_line(kit: Kit, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text.replace("KIT", kit.name))
    with pytest.raises(InputError) as caught:
        read_study(kit.page.parent, [path])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_give_one_line(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "binary.csv", tmp_path / "nowhere.csv"):
        with pytest.raises(InputError, match=f"cannot read .*{path.name}"):
            read_study(kit.page.parent, [path])
    with pytest.raises(InputError, match=r"cannot read .*key\.csv"):
        read_study(tmp_path, [])


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")
def test_a_judge_answers_in_a_browser(kit: Kit, tmp_path: Path) -> None:
    probe = """
    <script>
    const errors = []; window.addEventListener("error", (e) => errors.push(e.message));
    window.addEventListener("load", () => {
      const key = (name) => document.dispatchEvent(new KeyboardEvent("keydown", { key: name }));
      byId("rater").value = 'Anna "A", B'; byId("rater").dispatchEvent(new Event("input"));
      byId("go").click();
      key("ArrowLeft"); key("ArrowRight"); key(" ");
      document.querySelector("button.choice[data-answer=right]").click();
      byId("back").click(); key("ArrowLeft");
      const answer = document.createElement("pre"); answer.id = "answer";
      answer.textContent = JSON.stringify({ errors, text: asCsv(), place: byId("place").textContent });
      document.body.append(answer);
    });
    </script></body>"""
    page = tmp_path / "probed.html"
    page.write_text(kit.page.read_text(encoding="utf-8").replace("</body>", probe, 1), encoding="utf-8")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    folder = f"--user-data-dir={tmp_path / 'browser'}"
    command = [str(CHROMIUM), *quiet, folder, "--virtual-time-budget=2000", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=150, check=True).stdout
    found = re.search(r'<pre id="answer">(.*?)</pre>', dom, flags=re.DOTALL)
    assert found, dom[-2000:]
    said = json.loads(html.unescape(found[1]))
    assert said["errors"] == []
    assert said["place"] == "Question 5 of 30, 4 answered"
    rows = list(csv.DictReader(io.StringIO(said["text"])))
    assert [row["answer"] for row in rows] == ["left", "right", "same", "left"]
    (tmp_path / "answers.csv").write_text(said["text"], encoding="utf-8")
    read: Any = read_study(kit.page.parent, [tmp_path / "answers.csv"])
    assert (read.num_answers, read.raters) == (4, ('Anna "A", B',))
