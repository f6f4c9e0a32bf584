"""Figures, drawn on axes that the caller gives."""
