"""Tensors: the detectors, one family a file."""
