"""State of one user of the page: prompt, settings, history and the running job."""
