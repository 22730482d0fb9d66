"""Reports for people: self-contained HTML pages."""

from stalign_core.reports.page import Section, folded, html_page, html_table, key_of_page, picture, words

__all__ = ["Section", "folded", "html_page", "html_table", "key_of_page", "picture", "words"]
