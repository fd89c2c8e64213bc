"""A table as text, and its forms: terminal, Markdown, LaTeX, HTML. What the cells say is decided elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

MISSING = "–"

_STYLES = {1: "bold green", 2: "underline"}
_MARKDOWN = {1: "**{}**", 2: "<u>{}</u>"}
_LATEX = {1: r"\textbf{%s}", 2: r"\underline{%s}"}
_HTML = {1: "<strong>{}</strong>", 2: "<u>{}</u>"}
_TEX = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$"}
_TEX |= {"^": r"\^{}", "~": r"\~{}", "<": r"$<$", ">": r"$>$", "²": r"$^2$", "×": r"$\times$", "−": "$-$"}
_TEX |= {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "–": "--", "Δ": r"$\Delta$", "°": r"$^\circ$"}


@dataclass(frozen=True)
class Entry:
    """Text of one cell; ``rank`` 1 is set bold and 2 underlined."""

    text: str
    rank: int | None = None


@dataclass(frozen=True)
class Line:
    """One row: its name, a cell for each head, a text for each count; ``aside`` rows do not compete."""

    name: str
    entries: Sequence[Entry]
    counts: Sequence[str] = ()
    aside: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table ready to be set.

    Attributes:
        title: above it.
        corner: head of the column of names.
        heads: of the other columns.
        lines: the rows.
        counts: heads of the columns that say how many; LaTeX leaves them out.
        notes: below it, a sentence each.
    """

    title: str
    corner: str
    heads: Sequence[str]
    lines: Sequence[Line]
    counts: Sequence[str] = ()
    notes: Sequence[str] = field(default_factory=list)

    def print(self, console: Any, *, across: bool = False) -> None:
        """Print to a rich console; ``across`` sets heads as rows, for few rows with many columns."""
        from rich.text import Text

        console.print(Text(self.title, style="bold"), soft_wrap=True)
        console.print(self._across() if across else self._down())
        for note in self.notes:
            console.print(Text(f"· {note}", style="dim"), soft_wrap=True)
        console.print()

    def _down(self) -> Any:
        from rich.text import Text

        table = _rich_table(self.corner)
        for head in [*self.heads, *self.counts]:
            table.add_column(Text(head), justify="right")
        for line in self.lines:
            counts = [Text(count, style="dim") for count in line.counts]
            table.add_row(Text(line.name, style=_name_style(line)), *[_rich_text(e) for e in line.entries], *counts)
        return table

    def _across(self) -> Any:
        from rich.text import Text

        table = _rich_table("")
        for line in self.lines:
            table.add_column(Text(line.name, style=_name_style(line)), justify="right")
        for i, head in enumerate(self.heads):
            cells = [_rich_text(line.entries[i]) for line in self.lines]
            table.add_row(Text(head), *cells, end_section=i == len(self.heads) - 1)
        for i, head in enumerate(self.counts):
            table.add_row(Text(head, style="dim"), *[Text(line.counts[i], style="dim") for line in self.lines])
        return table

    def markdown(self) -> str:
        """Pipe table; best bold, second underlined."""
        head = [self.corner, *self.heads, *self.counts]
        rows = [f"### {markdown_safe(self.title)}", "", _piped(head), _piped(["---", *["---:"] * (len(head) - 1)])]
        for line in self.lines:
            cells = [_MARKDOWN.get(e.rank or 0, "{}").format(markdown_safe(e.text)) for e in line.entries]
            rows.append(_piped([markdown_safe(line.name), *cells, *line.counts]))
        notes = ["", *[f"- {markdown_safe(note)}" for note in self.notes]] if self.notes else []
        return "\n".join([*rows, *notes])

    def latex(self) -> str:
        """Tabular for the booktabs package; title and notes as comments."""
        rows = [f"% {self.title}", rf"\begin{{tabular}}{{l{'r' * len(self.heads)}}}", r"\toprule"]
        rows += [" & ".join(_tex(head) for head in [self.corner.capitalize(), *self.heads]) + r" \\", r"\midrule"]
        for line in self.lines:
            cells = [_LATEX.get(e.rank or 0, "%s") % _tex(e.text) for e in line.entries]
            rows.append(" & ".join([_tex(line.name), *cells]) + r" \\")
        return "\n".join([*rows, r"\bottomrule", r"\end{tabular}", *[f"% {note}" for note in self.notes]])

    def html(self) -> str:
        """One ``<table>`` with the title as caption and the notes as a list; no script, nothing from outside."""
        heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in [self.corner, *self.heads, *self.counts])
        rows = [f"<table>\n<caption>{escape(self.title)}</caption>", f"<thead><tr>{heads}</tr></thead>", "<tbody>"]
        for line in self.lines:
            name = f"<em>{escape(line.name)}</em>" if line.aside else escape(line.name)
            cells = [_HTML.get(e.rank or 0, "{}").format(escape(e.text)) for e in line.entries]
            cells += [escape(count) for count in line.counts]
            rows.append(f'<tr><th scope="row">{name}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        rows.append("</tbody>\n</table>")
        return "\n".join([*rows, *html_list(self.notes)])


def html_list(notes: Sequence[str]) -> list[str]:
    """Lines of an unordered list; [] where there are no notes."""
    return ["<ul>", *[f"<li>{escape(note)}</li>" for note in notes], "</ul>"] if notes else []


def _rich_table(corner: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, header_style="", pad_edge=False)
    table.add_column(corner, no_wrap=True)
    return table


def _rich_text(entry: Entry) -> Any:
    from rich.text import Text

    return Text(entry.text, style=_STYLES.get(entry.rank or 0, ""))


def _name_style(line: Line) -> str:
    return "italic" if line.aside else "bold"


def _piped(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def markdown_safe(text: str) -> str:
    """Text in Markdown in which a pair of datasets, "<A, B>", is no HTML and a starred name no emphasis."""
    return text.replace("<", "&lt;").replace("*", "\\*")


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)
