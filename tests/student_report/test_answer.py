"""The page that answers the student report."""

import json
import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from mnist_gen.student_report import answer, pages
from mnist_gen.student_report.answer import Sources
from mnist_gen.student_report.pages import Picture, Table
from tests.conftest import EXPERIMENTS, ROOT

COMMITTED = Sources(ROOT / "benchmarks/records", ROOT / "docs")
WORDS = {"two": "2", "three": "3", "four": "4", "five": "5", "ten": "10", "twelve": "12", "fifty": "50"}


def test_the_committed_page_is_made_from_the_records():
    text = (ROOT / "docs/answer.md").read_text()
    assert text == pages.as_markdown(answer.sections(COMMITTED)), "run `python train.py task=answer`"


@pytest.mark.parametrize("part", answer.sections(COMMITTED), ids=lambda part: part.title)
def test_every_section_is_filled(part):
    assert part.missing == []
    assert part.blocks
    assert all(text.endswith(".") for text in (part.says, part.verdict, part.why))
    for block in part.blocks:
        if isinstance(block, Table):
            assert len(block.rows) > 1
            assert {len(row) for row in block.rows} == {len(block.rows[0])}
            if block.rows[-1][0] == "accuracy":  # a classifier, digit by digit, beside the student report's
                assert all(cell for row in block.rows[1:] for cell in row)


@pytest.mark.parametrize("part", answer._content(), ids=lambda part: part["title"])
def test_what_a_section_names_exists(part):
    runs = [run for scores in part.get("scores", ()) for run in scores["runs"]]
    results = part.get("results", {"experiments": []})["experiments"]
    assert {*runs, *results, *part.get("architectures", ())} <= {*EXPERIMENTS}
    for record, words in part.get("claims", {}).items():
        for word in words:
            assert answer._claims(COMMITTED.entries[record], [word]), f"{record} has no claim with {word!r}"
    for picture in part.get("pictures", ()):
        assert (ROOT / "docs" / picture["file"]).is_file()
        assert picture.get("run", "gan") in EXPERIMENTS


@pytest.mark.parametrize("part", answer._content(), ids=lambda part: part["title"])
def test_what_is_written_follows_from_the_records(part):
    shown = answer._section(part, COMMITTED)
    tables = [block for block in shown.blocks if isinstance(block, Table)]
    claims = [row for table in tables if table.rows[0][0] == answer.CLAIM for row in table.rows[1:]]
    for words, verdict in part.get("rests_on", {}).items():
        found = {row[1] for row in claims if words in row[0]}
        assert found, f"no claim has the words {words!r}"
        assert found <= {*verdict.split(" or ")}, f"{words}: write the verdict anew, the records say {found}"
    assert "rests_on" in part or not claims
    cells = " ".join(cell for table in tables for row in table.rows for cell in row)
    assert numbers(part["verdict"], part["why"]) <= numbers(part["says"], cells)


def numbers(*texts):
    """The numbers in texts, in digits or in words."""
    found = re.findall(rf"\b(?:\d+(?:[.,]\d+)*|{'|'.join(WORDS)})\b", " ".join(texts).lower())
    return {WORDS.get(number, number) for number in found}


def test_each_verdict_stands_once_on_the_page_and_on_no_other():
    rows = Counter()
    for part in answer._content():
        for record, words in part.get("claims", {}).items():
            rows.update((record, row[0]) for row in answer._claims(COMMITTED.entries[record], words))
    all_claims = [
        (record, row[0]) for record, entry in COMMITTED.entries.items() for row in answer._claims(entry, [""])
    ]
    assert rows == Counter(all_claims)
    pages = [path for path in (ROOT / "docs").glob("*.md") if "| claim | verdict |" in path.read_text()]
    assert pages == [ROOT / "docs/answer.md"]


class Checked(HTMLParser):
    """Balanced tags, and what they load."""

    def __init__(self):
        super().__init__()
        self.open, self.loaded = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.loaded += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_file_that_loads_nothing():
    page = pages.as_html(answer.sections(COMMITTED))
    parser = Checked()
    parser.feed(page)
    assert parser.open == []
    assert all(re.match(r"#\d+$|data:image/png;base64,", link) for link in parser.loaded)
    assert "url(" not in page
    assert "<script" not in page
    assert "width=device-width" in page


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "docs").mkdir()
    return Sources(tmp_path / "records", tmp_path / "docs", tmp_path / "outputs")


def test_without_runs_each_section_shows_what_fills_it(sources, tmp_path):
    (parts := answer.sections(sources))
    first = parts[0]
    assert "student_report/transfer_linear_frozen" in first.missing
    assert first.blocks == []
    text = pages.as_markdown(parts)
    assert "Not measured yet: student_report/transfer_linear_frozen, " in text
    assert (
        "python train.py -m experiment=student_report/transfer_linear_frozen,student_report/transfer_linear_f" in text
    )
    assert "Not measured yet" in pages.as_html(parts)


def test_records_are_escaped(sources):
    sources.records.mkdir()
    metrics = {"test/accuracy": 0.5, **{f"test/f1_{digit}": digit / 10 for digit in range(10)}}
    (sources.records / "student_report").mkdir()
    run = {"metrics": metrics, "seed": 3, "processor": "<script>alert(1)</script>", "commit": "<b>"}
    (sources.records / "student_report/transfer_linear_frozen.json").write_text(json.dumps([run]))
    claim = ["| claim | verdict | evidence |", "| --- | --- | --- |", "| 1 is the easiest digit | <i> | &amp; |"]
    (sources.records / "sweeps").mkdir()
    (sources.records / "sweeps/claims.json").write_text(json.dumps([{"tables": {"claims": [claim]}}]))
    first = answer.sections(sources)[0]
    scores, claims = first.blocks
    assert isinstance(scores, Table)
    assert scores.rows[:2] == [["", "student report", "linear_frozen"], ["F1 of 0", "0.80", "0.00"]]
    assert scores.rows[-1] == ["accuracy", "0.710", "0.500"]
    assert isinstance(claims, Table)
    assert claims.rows[1:] == [["1 is the easiest digit", "<i>", "&amp;"]]
    page = pages.as_html([first])
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&amp;amp;" in page
    assert "<i>" not in page
    assert first.conditions.startswith("seed 3; ")


def test_a_runs_own_figure_goes_before(sources):
    (sources.docs / "digits.png").write_bytes(b"old")
    assert sources.picture("digits.png", "Digits", "cgan_embed20", "digits") == Picture(
        sources.docs / "digits.png", "Digits"
    )
    for name in ("2026-01-01_00-00-00", "2026-01-02_00-00-00"):
        figures = sources.outputs / "cgan_embed20" / name / "figures"
        figures.mkdir(parents=True)
        (figures / "digits.png").write_bytes(b"new")
        (figures.parent / "metrics.json").write_text("{}")
    found = sources.picture("digits.png", "Digits", "cgan_embed20", "digits")
    assert found.path == figures / "digits.png"
    assert sources.picture("none.png", "Nothing") is None


def test_a_broken_record_is_ignored(sources):
    sources.records.mkdir()
    for name, content in (("a", "{"), ("b", "[]"), ("c", "[1]"), ("d", "{}")):
        (sources.records / f"{name}.json").write_text(content)
    assert sources.entries == {}


def test_architectures_are_drawn_with_their_parameters(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(answer.plots, "architecture", lambda networks, title: drawn.update(networks))
    monkeypatch.setattr(answer.plots, "save", lambda figure, path: path)
    answer.draw_architectures(["autoencoder", "student_report/cgan_embed20_after"], tmp_path)
    encoder, _, generator, _ = drawn
    assert encoder == "encoder: 103,440 parameters"
    ((shapes, boxes),) = drawn[encoder]
    assert shapes == "1x32x32 \N{RIGHTWARDS ARROW} 64"
    assert boxes[0] == ("Conv2d", "16x16x16", "272")
    parts = [part.replace("\N{RIGHTWARDS ARROW}", "to") for part, _ in drawn[generator]]
    label, latent = ["label vectors: labels to 20"], ["mapping: 32 to 64", "decoder: 64 to 1x32x32"]
    assert parts == label + latent + ["plane: 20 to 1x32x32", "refine: 2x32x32 to 1x32x32"]
