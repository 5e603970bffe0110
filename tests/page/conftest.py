"""Fixtures of the page's tests without a browser."""

from tests.page.fixtures import midi_file, page_url, shared_composer, watched

__all__ = ["midi_file", "page_url", "shared_composer", "watched"]
