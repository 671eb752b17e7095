"""Receivers that speak the real protocols, and answer what a test tells them to."""
