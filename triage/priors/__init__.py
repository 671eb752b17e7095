"""Priors: the last comparable study of a patient, fetched for comparison and never triaged."""
