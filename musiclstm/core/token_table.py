"""The token table in the layout of the core."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from musiclstm.core.library import Library, check
from musiclstm.model.step_features import TokenTable


class CompiledTable:
    """The token table in the layout of the core; read-only.

    Attributes:
        size: Number of tokens.
        address: Address of the table.
    """

    def __init__(self, library: Library, table: TokenTable) -> None:
        """Convert a table.

        Raises:
            ValueError: A token that the core cannot represent.
        """
        self.size = len(table)
        self._buffer = library.zeros(library.call("token_table_bytes"), np.uint8)
        self.address = library.address(self._buffer)
        limits = np.iinfo(np.int32)
        columns = [
            library.visible(
                np.clip(np.array(column, np.int64), limits.min, limits.max).astype(np.int32)
            )
            for column in (table.kind, table.value, table.unit)
        ]
        arrays = map(library.address, columns)
        check(library.call("token_table_fill", self.address, self.size, *arrays, table.eos))


@lru_cache(maxsize=16)
def compiled_table(library: Library, table: TokenTable) -> CompiledTable:
    """Return the table of a library, converted once."""
    return CompiledTable(library, table)
