"""The commands of `dse`, by what they are for."""
