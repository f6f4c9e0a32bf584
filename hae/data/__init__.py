"""From files to rows: readers, feature recipes of tables and molecules, frames and their split."""
