"""Pages of the site that lie outside of docs/, and links between all pages as the site has them.

mkdocs calls these functions (`hooks` in mkdocs.yml). In the repository, links go from file to file; in the site each
file of PAGES is a page at the top. A link to a file that is no page becomes its text.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {  # file -> its page
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "clients/python/README.md": "client.md",
}
CODE_OR_LINK = re.compile(
    r"```.*?```"
    r"|(?<!!)\[(?P<text>(?:`[^`]*`|[^\]`])*)\]\((?P<file>[\w./-]+)(?P<anchor>#[\w-]+)?\)"
    r"|`[^`]*`",
    re.DOTALL,
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of docs/."""
    for file, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / file)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links of a page at pages; what stands in code is no link."""
    sources = {page: file for file, page in PAGES.items()}
    folder = posixpath.dirname(sources.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def link(found: re.Match[str]) -> str:
        if found["file"] is None:
            return found[0]
        file = posixpath.normpath(posixpath.join(folder, found["file"]))
        target = PAGES.get(file, file.removeprefix("docs/"))
        if (ROOT / file).exists() and not files.get_file_from_path(target):
            return found["text"]
        return f"[{found['text']}]({target}{found['anchor'] or ''})"

    return CODE_OR_LINK.sub(link, markdown)
