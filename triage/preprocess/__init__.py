"""Pixels to tensors: a limited child decodes, one chain of transforms per recipe prepares.

Nothing is imported here, so that the decoding child stays free of torch.
"""
