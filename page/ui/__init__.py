"""Gradio layout and event handlers of the page."""
