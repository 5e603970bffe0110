"""The network: configuration, `PreTrainedModel` and the step features that it reads."""
