"""A card as a Markdown renderer sees it: what in it is HTML, a link, an image, a heading or a cell."""

from typing import Any

from markdown_it import MarkdownIt


def parts_of(text: str) -> dict[str, list[Any]]:
    """Return what a Markdown renderer makes of a card: HTML, links, images, headings, columns of each table row."""
    body = text.split("---\n", 2)[2]
    blocks = MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)
    tokens = [token for block in blocks for token in (block, *(block.children or []))]
    rows = "".join({"tr_open": "|", "th_open": "x", "td_open": "x"}.get(token.type, "") for token in blocks)
    return {
        "html": [token.content.strip() for token in tokens if token.type in {"html_inline", "html_block"}],
        "links": [token.attrs["href"] for token in tokens if token.type == "link_open"],
        "images": [token.attrs["src"] for token in tokens if token.type == "image"],
        "headings": [token.tag for token in tokens if token.type == "heading_open"],
        "columns": sorted(set(rows.split("|"))),
    }
