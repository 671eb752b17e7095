"""Medicine: the pipeline, one verb a file, and the nouns that travel between them."""
