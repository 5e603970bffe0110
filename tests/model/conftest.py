"""Marks that transformers' tests carry."""

from tests.transformers.conftest import pytest_configure

__all__ = ["pytest_configure"]
