"""DICOMweb: STOW-RS into the spool, QIDO-RS over the rows, WADO-RS out of the spool (PS3.18)."""
