"""Builds the documents' site: `make docs`, into target/docs.

Each text has one place. The pages in this folder take the others in: a line that is a link and ends
in `<!-- here -->` is a link in the repository, and on the site what it leads to: a section of a
README, or a program as a block of code. `<!-- here: tabs -->` puts the blocks of a section one
behind the other, and `<!-- here: python -->` takes the block in that language alone.
`<!-- table: PART -->` takes in what operations.py makes of the core's table of operations. FILES
are pages as they are. Links are written as the repository needs them and turned into links of the
site, or into ones of the repository's address where the site has no page of it.

Each page is on the site as Markdown too, and `llms.txt` at its root lists them with a line each,
for programs that read documents.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import operations
import reference

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
REPOSITORY = "https://github.com/takings/takings"

# Pages of the site that are files of the repository.
FILES = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "bench/README.md": "bench.md",
    "sandbox/README.md": "sandbox.md",
    "tests/README.md": "suite.md",
}
# Where else a link to a whole file leads.
INSTEAD = {
    "README.md": "index.md",
    "core": "surfaces/rust.md",
    "core/src/lib.rs": "rust/takings/index.html",
    "ffi-c/README.md": "surfaces/c.md",
    "include/takings.h": "reference/c.md",
    "include/takings.hpp": "reference/cpp.md",
    "lua/README.md": "surfaces/lua.md",
    "lua/takings.d.lua": "reference/lua.md",
    "python/README.md": "surfaces/python.md",
    "python/takings/_takings.pyi": "reference/python.md",
    "sandbox/src/lib.rs": "rust/takings_sandbox/index.html",
}
LANGUAGES = {
    # a Dockerfile
    "": "dockerfile",
    ".c": "c",
    ".cob": "cobol",
    ".conf": "nginx",
    ".cpp": "cpp",
    ".graphql": "graphql",
    ".h": "c",
    ".json": "json",
    ".lua": "lua",
    ".php": "php",
    ".py": "python",
    ".rs": "rust",
    ".service": "ini",
    ".sh": "bash",
    ".sql": "sql",
    ".timer": "ini",
    ".txt": "cmake",
    ".xml": "xml",
    ".yaml": "yaml",
}
HERE = re.compile(r"\[(?P<text>.*)\]\((?P<link>\S+)\)<!-- here(?:: (?P<as>\w+))? -->")
TABLE = re.compile(r"\[.*\]\(\S+\)<!-- table: (?P<part>\w+)(?P<names>(?: \w+)*) -->")
LINK = re.compile(r"(!?\[(?:[^\]\[]|\[[^\]]*\])*\])\(([^)\s]+)\)")
FENCE = re.compile(r"( *)(```+)")


class Mistake(Exception):
    """Something in a page that has to be fixed."""


@dataclass
class Block:
    """A fenced block of code, and the file that it comes from."""

    origin: str
    language: str
    text: str
    # the comment in front of it, which says how it comes about
    said: str = ""


@dataclass
class Page:
    """A page of the site before its links are turned into the site's."""

    text: str
    blocks: list[Block] = field(default_factory=list)

    def slugs(self) -> set[str]:
        return {slug(title) for _, title in headings(self.text)}


def slug(title: str) -> str:
    """The anchor of a heading, on the site as on GitHub."""
    title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


def outside_of_fences(text: str) -> list[tuple[bool, str]]:
    """Each line, and whether it is prose."""
    lines: list[tuple[bool, str]] = []
    fence = ""
    for line in text.split("\n"):
        opening = FENCE.match(line)
        if fence:
            lines.append((False, line))
            if line.strip() == fence:
                fence = ""
        elif opening:
            fence = opening[2]
            lines.append((False, line))
        else:
            lines.append((True, line))
    return lines


def headings(text: str) -> list[tuple[int, str]]:
    found = []
    for prose, line in outside_of_fences(text):
        match = re.match(r"(#+) (.*)", line)
        if prose and match:
            found.append((len(match[1]), match[2]))
    return found


def section(path: str, anchor: str) -> str:
    """The text under a heading, without the heading; without an anchor that under the first."""
    found: list[str] | None = None
    depth = 1
    known: list[str] = []
    for prose, line in outside_of_fences((ROOT / path).read_text()):
        match = re.match(r"(#+) (.*)", line) if prose else None
        if match and found is None:
            # GitHub counts headings that are called alike: C and C++ are c and c-1
            again = known.count(slug(match[2]))
            known.append(slug(match[2]))
            if not anchor or anchor == known[-1] + (f"-{again}" if again else ""):
                found, depth = [], len(match[1])
        elif match and (len(match[1]) <= depth or not anchor):
            break
        elif found is not None:
            found.append(line)
    if found is None:
        raise Mistake(f"{path} has no section #{anchor}")
    return "\n".join(found).strip("\n")


def blocks_of(text: str, origin: str) -> list[Block]:
    found: list[Block] = []
    inside: Block | None = None
    said = indent = ""
    for prose, line in outside_of_fences(text):
        comment = re.fullmatch(r"<!-- (.*) -->", line)
        if prose:
            said = comment[1] if comment else said if not line else ""
        elif inside is None:
            fence = FENCE.match(line)
            assert fence
            indent = fence[1]
            language = line.strip(" `").split(" ")[0]
            inside = Block(origin, language, "", said)
        elif line.strip().startswith("```"):
            found.append(inside)
            inside, said = None, ""
        else:
            inside.text += line.removeprefix(indent) + "\n"
    return found


def one_block(text: str, origin: str, language: str) -> Block:
    found = [block for block in blocks_of(text, origin) if block.language == language]
    if len(found) != 1:
        raise Mistake(f"{origin} has {len(found)} blocks of {language} in that section")
    return found[0]


def tabs(text: str) -> str:
    """Blocks of code that follow each other, one behind the other."""
    names = {"python": "Python", "lua": "Lua", "rust": "Rust", "c": "C", "cpp": "C++"}
    lines: list[str] = []
    is_tab = False
    for prose, line in outside_of_fences(text):
        if not prose and line.startswith("```") and line != "```":
            is_tab = line[3:] in names
            if is_tab:
                lines += [f'=== "{names[line[3:]]}"', ""]
        lines.append(f"    {line}".rstrip() if is_tab and not prose else line)
    return "\n".join(lines)


def relative_to(path: str, link: str) -> str:
    """A link of a file as a path from the root of the repository, with its anchor."""
    for address in (f"{REPOSITORY}/blob/main/", f"{REPOSITORY}/tree/main/"):
        if link.startswith(address):
            return link.removeprefix(address)
    target, _, anchor = link.partition("#")
    whole = os.path.normpath(PurePosixPath(path).parent / target) if target else path
    return f"{whole}#{anchor}" if anchor else whole


def from_the_root(text: str, path: str) -> str:
    """The text with its links as `repo:` and a path from the root."""

    def link(match: re.Match[str]) -> str:
        if re.match(r"[a-z]+:", match[2]) and not match[2].startswith(REPOSITORY + "/"):
            return match[0]
        return f"{match[1]}(repo:{relative_to(path, match[2])})"

    # An inline link may be broken over lines, but a block of code stands between paragraphs.
    parts: list[tuple[bool, list[str]]] = []
    for prose, line in outside_of_fences(text):
        if not parts or parts[-1][0] != prose:
            parts.append((prose, []))
        parts[-1][1].append(line)
    joined = (("\n".join(lines), prose) for prose, lines in parts)
    return "\n".join(LINK.sub(link, part) if prose else part for part, prose in joined)


class Site:
    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        # sections of other texts: the page that has taken them in
        self.taken: dict[tuple[str, str], str] = {}
        # where the site has a file of the repository
        self.places = dict(INSTEAD)
        for path, page in FILES.items():
            self.places[path] = page
            text = (ROOT / path).read_text()
            self.pages[page] = Page(from_the_root(text, path), blocks_of(text, path))
        folder = ROOT / "docs"
        for source in sorted(folder.rglob("*.md")):
            page = source.relative_to(folder).as_posix()
            self.places[f"docs/{page}"] = page
            self.pages[page] = self.assembled(page, source.read_text())
        for page, text in reference.pages(ROOT).items():
            self.pages[page] = Page(text, blocks_of(text, "reference"))

    def assembled(self, name: str, text: str) -> Page:
        path = f"docs/{name}"
        lines: list[str] = []
        page = Page("")
        mine: list[str] = []
        for line in text.split("\n"):
            here, table = HERE.fullmatch(line), TABLE.fullmatch(line)
            if not here and not table:
                mine.append(line)
                continue
            page.blocks += blocks_of("\n".join(mine), path)
            lines.append(from_the_root("\n".join(mine), path))
            mine = []
            if table:
                lines.append(operations.part(name, table["part"], table["names"].split()))
                continue
            assert here
            source, _, anchor = relative_to(path, here["link"]).partition("#")
            if not source.endswith(".md"):
                code = (ROOT / source).read_text().rstrip("\n")
                language = LANGUAGES[PurePosixPath(source).suffix]
                shown = PurePosixPath(source).name
                lines.append(f'```{language} title="{shown}"\n{code}\n```')
                page.blocks.append(Block(source, language, code + "\n"))
                continue
            taken = section(source, anchor)
            if here["as"] not in (None, "tabs"):
                # A block may stand on several pages, and a section on one page alone.
                block = one_block(taken, source, here["as"])
                lines.append(f"```{block.language}\n{block.text}```")
                page.blocks.append(block)
                continue
            page.blocks += blocks_of(taken, source)
            for within in [anchor, *(slug(title) for _, title in headings(taken))]:
                if other := self.taken.get((source, within)):
                    raise Mistake(f"{source}#{within} is in {other} and in {name}")
                self.taken[source, within] = name
            taken = from_the_root(taken, source)
            lines.append(tabs(taken) if here["as"] else taken)
        page.blocks += blocks_of("\n".join(mine), path)
        lines.append(from_the_root("\n".join(mine), path))
        page.text = "\n".join(lines)
        if name.startswith("operations/"):
            page.text = tabs(page.text)
        return page

    def link(self, page: str, target: str) -> str:
        """Where a link of a page to a file of the repository leads."""
        path, _, anchor = target.partition("#")
        place = self.taken.get((path, anchor)) if anchor else self.places.get(path)
        # pictures are beside the pages
        if path.startswith("docs/assets/") and (ROOT / path).exists():
            place = path.removeprefix("docs/")
        if anchor and place is None:
            place = self.places.get(path)
            if place and anchor not in self.slugs(place):
                raise Mistake(f"{page} links to {target}, which is on no page")
        if place is None:
            if not (ROOT / path).exists():
                raise Mistake(f"{page} links to {target}, which is not there")
            kind = "tree" if (ROOT / path).is_dir() else "blob"
            return f"{REPOSITORY}/{kind}/main/{target}"
        there = os.path.relpath(place, PurePosixPath(page).parent)
        # a page that is about a section and nothing else has not its heading
        return f"{there}#{anchor}" if anchor in self.slugs(place) else there

    def slugs(self, page: str) -> set[str]:
        return self.pages[page].slugs() if page in self.pages else set()

    def text(self, name: str) -> str:
        """A page as the site's generator gets it."""
        text = re.sub(r"^<!-- .* -->\n", "", self.pages[name].text, flags=re.MULTILINE)
        return re.sub(r"\(repo:([^)]*)\)", lambda match: f"({self.link(name, match[1])})", text)

    def line(self, name: str) -> str:
        """A page in a line: what a comment `<!-- line: … -->` on it says, or its first sentence."""
        if said := re.search(r"^<!-- line: (.*) -->$", self.pages[name].text, re.MULTILINE):
            return said[1]
        _, _, below = self.text(name).partition("\n")
        prose = "\n".join(line for is_prose, line in outside_of_fences(below) if is_prose)
        for paragraph in re.split(r"\n\s*\n", prose.strip()):
            if re.match(r"[\w`\[]|\*\*", paragraph):
                whole = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
                first = re.split(r"(?<=[.?])\s", whole.replace("**", ""))[0]
                return re.sub(r":$", ".", first)
        raise Mistake(f"{name} says nothing")

    def llms(self) -> str:
        """What llms.txt says: each page with its title and a line, in the navigation's order."""
        settings = (ROOT / "docs/zensical.toml").read_text()
        said = dict(re.findall(r'^(site_\w+) = "(.*)"$', settings, re.MULTILINE))
        lines = [f"# {said['site_name']}", "", f"> {said['site_description']}."]
        for group, name in re.findall(r'^    \{ "([^"]+)" = \[|"([\w/-]+\.md)"', settings, re.M):
            if group:
                lines += ["", f"## {group}", ""]
                continue
            [(_, title)] = headings(self.pages[name].text)[:1]
            lines.append(f"- [{title}]({name}): {self.line(name)}")
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        for name in self.pages:
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.text(name))


def build() -> None:
    workshop, site = TARGET / "docs-pages", TARGET / "docs"
    shutil.rmtree(workshop, ignore_errors=True)
    shutil.rmtree(site, ignore_errors=True)
    made = Site()
    made.write(workshop / "pages")
    shutil.copytree(ROOT / "docs/assets", workshop / "pages/assets")
    shutil.copy(ROOT / "docs/zensical.toml", workshop)
    zensical = Path(sys.executable).parent / "zensical"
    subprocess.run([zensical, "build", "--strict", "--clean"], cwd=workshop, check=True)
    (workshop / "site").rename(site)
    for page in site.rglob("*.html"):
        # The search of a page opened from a folder needs a worker: ours, from no other server.
        depth = "../" * (len(page.relative_to(site).parts) - 1) or "./"
        shim = f'src="{depth}assets/worker.js"'
        page.write_text(
            page.read_text().replace('src="https://unpkg.com/iframe-worker/shim"', shim)
        )
    for name in made.pages:
        shutil.copy(workshop / "pages" / name, site / name)
    (site / "llms.txt").write_text(made.llms())
    shutil.copytree(TARGET / "doc", site / "rust", ignore=shutil.ignore_patterns(".lock"))


if __name__ == "__main__":
    try:
        build()
    except Mistake as mistake:
        sys.exit(str(mistake))
    print(f"{TARGET / 'docs' / 'index.html'}")
