"""The web: pages for readers, server-rendered. It only reads what the pipeline wrote."""
