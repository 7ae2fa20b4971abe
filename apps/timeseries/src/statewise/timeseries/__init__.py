"""statewise.timeseries."""
