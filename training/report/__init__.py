"""Report on a corpus before training: what it contains and how long training will take."""
