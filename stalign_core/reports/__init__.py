"""Reports for people: self-contained HTML pages."""

from stalign_core.reports.page import Section, html_page, html_table, picture, words

__all__ = ["Section", "html_page", "html_table", "picture", "words"]
