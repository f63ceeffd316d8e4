"""Coordinate descent: one coordinate at a time, exactly or by its curvature bound."""
