"""Server around Gradio: middleware, queue limits, deadlines, health, temporary files, shutdown."""
