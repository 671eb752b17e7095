"""One file per kind of result."""
