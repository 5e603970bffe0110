"""Train networks: from folders of MIDI files to a checkpoint folder.

Commands: `prepare` and `pretrain` train new weights, `finetune` trains on your own files, and
`evaluate` measures a checkpoint.
"""
