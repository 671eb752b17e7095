"""Migrations, one file a change, in order of their number."""
