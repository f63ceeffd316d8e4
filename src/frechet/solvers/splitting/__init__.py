"""Splitting methods: proximal maps of two functions, one of them of a linear map, taken in turn."""
