"""Analytic component models: one small file each, plain functions over broadcastable arrays, SI units."""
