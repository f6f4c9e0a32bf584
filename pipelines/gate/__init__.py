"""Whether a candidate becomes champion, and the steps around it."""
