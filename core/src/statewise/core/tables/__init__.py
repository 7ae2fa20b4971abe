"""Tables from files: delimited text, parquet or frames, with errors that name the row and the fix.

`load.load` reads a source as a `table.Table`, `table.combine` puts several below each other. All but
`separators` needs polars, which the extra `statewise-core[tables]` brings.
"""
