"""The networks: layers, CV layer, the two hierarchies, their error and their canonical form. Needs torch and NumPy alone."""
