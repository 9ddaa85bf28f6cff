"""How the answer to the student report looks: sections as Markdown, and as one HTML file."""

import base64
import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnist_gen.runs.tables import markdown

TITLE = "The student report, answered"
EXPLAINED = "What the words mean"
COMMANDS = "Commands"

WORDS = {
    "our recipe": 'for GANs, the relativistic loss with gradient penalties; "Relativistic" in claims',
    "the student report's recipe": (
        'for GANs, binary cross-entropy without penalties; "BCE" in claims, which rest on short runs of eight epochs, '
        "all of which collapsed"
    ),
    "short runs": "runs with a fifth of the batches: limit_train_batches=0.2 in the command",
    "holds, fails": (
        "a 95 % confidence interval confirms a difference in the claimed direction, or against it; where the evidence "
        "gives no difference, the share of runs or images that it names decides"
    ),
    "noise": "the interval contains 0: the difference may be chance; if a claim denies a difference, none was found",
    "depends": "measurements disagree",
    "+0.6 ± 0.2 points, 7 of 8 pairs": (
        "mean difference in percentage points, its standard error, and how many pairs favour what the claim names first"
    ),
    "±": "after a metric, without the word points: the standard deviation over seeds",
    "draw": "a random choice of the 50 labelled images",
    "composition": "an encoder that learns with the classifier",
    "finetune, scratch": (
        "composition from the autoencoder's weights, as in the student report's text, or from random ones, as in its "
        "code"
    ),
    "a loss tracks image quality": (
        "a rank correlation of at least 0.5, of either sign; over epochs, with the same sign in nine of ten runs; over "
        "variants, with p below 0.05"
    ),
    "FID": "distance of generated images from real ones; lower is better",
    "coverage": "share of real images with a generated one nearby",
    "density": "how densely generated images lie around real ones; 1 for equal distributions",
    "scorer": "a classifier trained on real images, which measures the others' images",
    "class accuracy": "share of samples that the scorer reads as the requested digit",
    "CAS": "test accuracy of another classifier, trained on samples alone",
    "diversity": "how much the samples of a digit differ; 1 for real images",
    "legible": "read by the scorer with a confidence of at least 90 %",
    "paired, loose, unpaired": "each target shows its input, another image of its digit, or any image",
    "a strategy works": (
        "in every run, at least 90 % of the outputs show the input's digit, and FID is at most ten times that of real "
        "images"
    ),
    "up to the seed": "at least five digits mostly become another digit with another seed",
    "correspondence": "share of outputs in which the input's digit is read",
    "retrieval": "share of outputs that are nearer to their own target than to any other",
}

Rows = list[list[str]]  # the first one has the headings


@dataclass(frozen=True)
class Table:
    """Rows of cells, below a line of headings."""

    rows: Rows
    folded: str = ""  # a title, on which a click shows the table
    shows: str = ""  # what the cells are, where the headings do not say it


@dataclass(frozen=True)
class Picture:
    """A PNG file, and what it shows."""

    path: Path
    shows: str


@dataclass(frozen=True)
class Section:
    """A part of the page, with everything resolved."""

    title: str
    says: str
    verdict: str
    why: str
    blocks: Sequence[Table | Picture]
    missing: Sequence[str]  # experiments and sweeps without a record
    commands: Sequence[str]
    conditions: str  # seeds, processors and commits of the runs


def as_markdown(parts: Sequence[Section]) -> str:
    """The page for `docs`, whose pictures lie beside it."""
    words = [f"* **{word}**: {meaning}" for word, meaning in WORDS.items()]
    head = [f"# {TITLE}\n", _fold(EXPLAINED), "", *words, "\n</details>\n"]
    return "\n".join([*head, *("\n".join(_in_markdown(part)) for part in parts)])


def _in_markdown(part: Section) -> Iterator[str]:
    yield f"## {part.title}\n"
    yield f"**The student report:** {part.says}\n"
    yield f"**Verdict:** {part.verdict} {part.why}\n"
    for block in part.blocks:
        if isinstance(block, Picture):
            yield f"![{block.shows}]({block.path.name})\n"
        else:
            rows = [[_plain(cell) for cell in row] for row in block.rows]
            table = markdown(rows[0], rows[1:])
            if block.shows:
                yield f"{block.shows}:\n"
            yield f"{_fold(block.folded)}\n\n{table}\n</details>\n" if block.folded else table
    if part.missing:
        yield f"Not measured yet: {', '.join(part.missing)}.\n"
    if part.commands:
        yield "\n".join([_fold(COMMANDS), "\n```bash", *part.commands, "```\n\n</details>\n"])
    if part.conditions:
        yield f"*{_plain(part.conditions)}*\n"


def _plain(text: str) -> str:
    """Text that stands in a table in Markdown, and starts no HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;")


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff }
body { max-width: 60rem; margin: 0 auto; padding: 1rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem }
blockquote { margin: 0; padding: .2rem 1rem; border-left: 4px solid #0072b2; background: #f2f6fa }
.scroll { overflow-x: auto; margin: 1rem 0 } table { border-collapse: collapse; font-size: .9rem }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
img { max-width: 100%; height: auto } figure { margin: 1rem 0 } figcaption, small { color: #555; font-size: .85rem }
dt { font-weight: bold } details { margin: 1rem 0 } summary { cursor: pointer; color: #0072b2 }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f4f4f4; padding: .6rem; font-size: .85rem }
.holds { color: #00734f } .fails { color: #b23c00 } .noise, .depends { color: #555 } nav ol { columns: 2 20rem }
"""


def as_html(parts: Sequence[Section]) -> str:
    """The page as one file, which needs no other and no network."""
    contents = "".join(f'<li><a href="#{n}">{html.escape(part.title)}</a></li>' for n, part in enumerate(parts))
    words = "".join(f"<dt>{html.escape(word)}</dt><dd>{html.escape(meaning)}</dd>" for word, meaning in WORDS.items())
    body = "".join(_in_html(number, part) for number, part in enumerate(parts))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title><style>{STYLE}</style></head>"
        f"<body><h1>{TITLE}</h1><nav><ol>{contents}</ol></nav>"
        f"{_fold(EXPLAINED)}<dl>{words}</dl></details>{body}</body></html>\n"
    )


def _in_html(number: int, part: Section) -> str:
    lines = [f'<section id="{number}"><h2>{html.escape(part.title)}</h2>']
    lines.append(f"<blockquote><p><b>The student report:</b> {html.escape(part.says)}</p></blockquote>")
    lines.append(f"<p><b>Verdict:</b> {_cell(part.verdict)} {_cell(part.why)}</p>")
    lines += map(_block_in_html, part.blocks)
    if part.missing:
        lines.append(f"<p><b>Not measured yet:</b> {html.escape(', '.join(part.missing))}</p>")
    if part.commands:
        lines.append(f"{_fold(COMMANDS)}<pre>{html.escape(chr(10).join(part.commands))}</pre></details>")
    lines.append(f"<small>{html.escape(part.conditions)}</small></section>")
    return "\n".join(lines)


def _block_in_html(block: Table | Picture) -> str:
    if isinstance(block, Picture):
        content = base64.b64encode(block.path.read_bytes()).decode()
        shows = html.escape(block.shows)
        image = f'<img src="data:image/png;base64,{content}" alt="{shows}" loading="lazy">'
        return f"<figure>{image}<figcaption>{shows}</figcaption></figure>"
    head = "".join(f"<th>{_cell(cell)}</th>" for cell in block.rows[0])
    verdicts = {
        cell for row in block.rows[1:] for name, cell in zip(block.rows[0], row, strict=True) if name == "verdict"
    }
    lines = []
    for row in block.rows[1:]:
        kinds = (f' class="{html.escape(cell)}"' if cell in verdicts else "" for cell in row)
        cells = (f"<td{kind}>{_cell(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    table = f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>'
    if block.shows:
        table = f"<p>{html.escape(block.shows)}:</p>{table}"
    return f"{_fold(block.folded)}{table}</details>" if block.folded else table


def _fold(title: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>"


def _cell(text: str) -> str:
    """Text in Markdown in which backticks mark code, such as a table's cell."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(text))
