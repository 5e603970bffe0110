"""Accessibility of a page, as far as axe-core can check it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
_LEAST_PX = 40
# A range is dragged by its thumb, which is as high as the input.
_TARGETS = "button, select, input:not([type=checkbox]), summary, [role=option]"


def violations(page: Page) -> list[str]:
    """Return the violations of WCAG 2.2 A and AA and of good practice: rule, reason, element.

    The browser context must have been created with `bypass_csp=True`.
    """
    if not AXE.exists():
        pytest.skip("axe-core is not installed; run: npm ci")
    page.evaluate(AXE.read_text(encoding="utf-8") + "; null")
    found = page.evaluate("axe.run().then(({ violations }) => violations)")
    return [
        f"{each['id']}: {each['help']}: {node['html'][:160]}"
        for each in found
        for node in each["nodes"]
    ]


def small_targets(page: Page) -> list[str]:
    """Return the visible controls that are less than 40 pixels high, or narrower than 24."""
    small = []
    for each in page.locator(_TARGETS).locator("visible=true").all():
        box = each.bounding_box()
        if box and (box["height"] < _LEAST_PX - 0.5 or box["width"] < 24):
            small.append(f"{each.evaluate('each => each.outerHTML')[:120]}: {box}")
    return small
