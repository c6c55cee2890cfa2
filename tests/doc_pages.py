"""Markdown pages: links, headings, and blocks of code with their line numbers."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cli import ROOT

PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "datasets").glob("*.md"),
                *(ROOT / "models").rglob("*.md")})
UNCHECKED = "unchecked"
"""Marks a block of code that cannot be checked by itself, in its first line: ```bash unchecked."""
FENCE = re.compile(r"^ *```(.*)$")
LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)|^\[[^\]]+\]: *(\S+)", re.MULTILINE)
MARKUP = re.compile(r"\[([^\]]*)\]\([^)]*\)|[`*]")


class Block(NamedTuple):
    """A fenced block of code."""

    line: int
    """Of its first line of code."""
    language: str
    checked: bool
    text: str


class Page:
    """One file.

    Attributes:
        name: its path below the repository's root.
        blocks: of code.
        prose: the text with all code blanked out; line numbers stay the same.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.relative_to(ROOT).as_posix()
        self.blocks: list[Block] = []
        prose: list[str] = []
        fence: tuple[int, str] | None = None
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            mark = FENCE.match(line)
            prose.append("" if mark or fence else line)
            if mark and fence is None:
                fence = number + 1, mark[1].strip()
            elif mark and fence is not None:
                first, info = fence
                words, code = [*info.split(), ""], "\n".join(lines[first - 1:number - 1])
                self.blocks.append(Block(first, words[0], UNCHECKED not in words, code))
                fence = None
        self.text = "\n".join(prose)
        self.prose = re.sub(r"`[^`]*`", lambda code: re.sub(r"[^\n]", " ", code[0]), self.text)

    def links(self) -> Iterator[tuple[int, str]]:
        """Yield the line and the target of each link and picture."""
        for match in LINK.finditer(self.prose):
            yield self.prose.count("\n", 0, match.start(1 if match[1] else 2)) + 1, match[1] or match[2]

    def anchors(self) -> set[str]:
        """Return the anchors of the headings, as GitHub names them."""
        taken: Counter[str] = Counter()
        found = set()
        for heading in re.findall(r"^#{1,6} +(.*?) *#*$", self.text, flags=re.MULTILINE):
            plain = MARKUP.sub(lambda match: match[1] or "", heading).strip().lower()
            slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
            found.add(f"{slug}-{taken[slug]}" if taken[slug] else slug)
            taken[slug] += 1
        return found


def commands(block: Block) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the words of each shell command in a block, without operators and variables before it.

    Raises:
        ValueError: a quotation has no end.
    """
    joined, first = "", block.line
    for number, line in enumerate(block.text.splitlines(), block.line):
        first = first if joined else number
        joined += line.removesuffix("\\") if line.endswith("\\") else f"{line}\n"
        if line.endswith("\\"):
            continue
        lexer = shlex.shlex(joined, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if not set(word) <= set("();<>|&"):
                words.append(word)
                continue
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words:
                yield first, words
            words = []
        joined = ""
