"""From a checkpoint folder to the Hub and back: so far, the card."""
