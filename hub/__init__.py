"""Publish a checkpoint folder as a model, or the page as a Space, on the Hugging Face Hub."""
