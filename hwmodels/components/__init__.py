"""Analytic component models: one small file each, functions over broadcastable arrays, SI units."""
