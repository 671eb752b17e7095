"""The web: pages for radiologists and admins."""
