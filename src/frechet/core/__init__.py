"""Ground floor: the protocols and the loops that everything else meets."""
