"""Medicine: the pipeline, one verb a file, and the nouns that travel between them."""

from typing import Final

IMPLEMENTATION_CLASS_UID: Final = "2.25.207044859149769038405677468347746917643"
"""Names this product as a DICOM implementation, in associations and files (PS3.7 D.3.3.2)."""
IMPLEMENTATION_VERSION_NAME: Final = "TRIAGE_1"
