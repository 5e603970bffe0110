"""Markers of transformers' tests."""

from __future__ import annotations

import pytest

MARKS = (
    *("accelerate_tests", "torch_compile_test", "generate", "is_training_test"),
    *("flash_attn_test", "flash_attn_3_test", "flash_attn_4_test"),
)


def pytest_configure(config: pytest.Config) -> None:
    for mark in MARKS:
        config.addinivalue_line("markers", f"{mark}: of transformers")
