"""Reports of an evaluation: Markdown, HTML, plots."""
