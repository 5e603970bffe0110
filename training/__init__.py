"""Teaching the network: from a folder of MIDI to a checkpoint folder.

Meets publishing and the page only in that folder.
"""
