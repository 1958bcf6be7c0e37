"""Reports of studies: plain data, figures of it, and the page, Markdown text and pictures that show them."""
