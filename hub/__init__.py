"""From a checkpoint folder, or from the page, to the Hub."""
