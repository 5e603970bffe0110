"""Training: from folders of MIDI files to a checkpoint folder.

Commands: `prepare` and `pretrain` (new weights), `finetune` (a checkpoint, or new weights, on your
own files), `evaluate`.
"""
