"""Closures become pytrees."""
