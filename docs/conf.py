"""The documentation site: `make docs` builds it with Sphinx from the Markdown of the repository.

The sources are the pages as a forge shows them. README.md is the front page; NAVIGATION is the order of the others.
A link to a file that is not a page becomes a download; a link to a directory leads to a list of its files.
"""

from __future__ import annotations

import fnmatch
import html
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes
from sphinx.util import logging
from sphinx.util.osutil import relative_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

# The parts of the site, and the pages of each in their order. Names may have wildcards.
NAVIGATION = {
    "Use it": [
        "docs/guide", "docs/client", "docs/messages", "docs/recipes/fastapi", "docs/recipes/django",
        "docs/recipes/rails", "docs/recipes/nestjs", "docs/recipes/*", "docs/simulator",
    ],
    "Run it": [
        "docs/install", "docs/configure", "docs/operations", "docs/troubleshooting", "docs/metrics", "docs/upgrade",
        "docs/cluster", "docs/security", "CHANGELOG",
    ],
    "Understand it": [
        "docs/internals/architecture", "docs/internals/reliability", "docs/internals/decisions",
        "docs/internals/specification", "docs/internals/*", "docs/glossary", "CONTRIBUTING",
    ],
}  # fmt: skip

project = "SMS Bridge"
html_title = project
root_doc = "README"
extensions = ["myst_parser"]
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "docs/**/*.md"]
exclude_patterns = [".*", "build", "dist", "bridge", "tests", "benchmarks"]
# Headings have the anchors that a forge gives them.
myst_heading_anchors = 6
suppress_warnings = ["misc.highlighting_failure"]
html_theme = "furo"
html_show_sphinx = False
html_copy_source = False

_log = logging.getLogger("sms-bridge.docs")


def pages_of(names: list[str], found: set[str]) -> list[str]:
    """Return the pages of a part of the site, each once, in the order of their names."""
    return list(dict.fromkeys(page for name in names for page in sorted(fnmatch.filter(found, name))))


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the table of contents to the front page, which shows it in the sidebar alone."""
    if page != root_doc:
        return
    for caption, names in NAVIGATION.items():
        pages = "\n".join(pages_of(names, app.env.found_docs))
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n"


def read_front_page(app: Sphinx, *_: object) -> list[str]:
    """Read the front page again in each build: its table of contents follows from the other pages."""
    return [root_doc] if root_doc in app.env.found_docs else []


def link_directories(app: Sphinx, doctree: nodes.document) -> None:
    """Resolve the links of a page to directories of the repository: to lists of their files."""
    root, page = Path(app.srcdir), app.env.docname
    for node in list(doctree.findall(addnodes.pending_xref)):
        directory = (root / page).parent.joinpath(node["reftarget"]).resolve()
        if (
            node["reftype"] == "myst"
            and directory.is_dir()
            and directory.is_relative_to(root)
            and directory != root
        ):
            name = directory.relative_to(root).as_posix()
            _directories(app.env).add(name)
            uri = relative_uri(f"{page}.html", f"{name}/index.html")
            reference = nodes.reference("", "", internal=True, refuri=uri)
            reference += node.children
            node.replace_self(reference)


def _directories(env: BuildEnvironment) -> set[str]:
    if not hasattr(env, "linked_directories"):
        env.linked_directories = set()  # type: ignore[attr-defined]
    return env.linked_directories  # type: ignore[attr-defined,no-any-return]


def list_directories(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield a page for each directory that a page links to, and copy its files beside that."""
    for name in sorted(_directories(app.env)):
        source, target = Path(app.srcdir) / name, Path(app.outdir) / name
        items = ""
        for path in sorted(source.rglob("*")):
            file = path.relative_to(source)
            # deploy/compose/make-secrets writes secrets there, and Git ignores them.
            if path.is_file() and path.suffix != ".md" and not {"secrets", "__pycache__"} & set(file.parts):
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / file)
                items += (
                    f'<li><a href="{html.escape(str(file))}"><code>{html.escape(str(file))}</code></a></li>'
                )
        yield (
            f"{name}/index",
            {"title": name, "body": f"<h1>{html.escape(name)}</h1><ul>{items}</ul>"},
            "page.html",
        )


def check_navigation(_app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Warn of a page that no part of the site has."""
    every = [name for names in NAVIGATION.values() for name in names]
    for page in sorted(env.found_docs - {root_doc} - set(pages_of(every, env.found_docs))):
        _log.warning("no part of the site has this page: add it to NAVIGATION in docs/conf.py", location=page)
    return []


def copy_front_page(app: Sphinx, error: Exception | None) -> None:
    """Make the front page the one that a web server shows for the directory."""
    if error is None and app.builder.name == "html":
        shutil.copyfile(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extensions of this file."""
    app.connect("env-get-outdated", read_front_page)
    app.connect("source-read", add_navigation)
    app.connect("doctree-read", link_directories)
    app.connect("env-updated", check_navigation)
    app.connect("html-collect-pages", list_directories)
    app.connect("build-finished", copy_front_page)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
