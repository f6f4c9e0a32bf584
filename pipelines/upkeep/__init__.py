"""For months: what is wrong with a place and how it is mended, and where a model came from."""
