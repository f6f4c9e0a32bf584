"""What ordered autoencoders explain, level by level, on data that anyone can have: `python -m benchmarks.field`."""
