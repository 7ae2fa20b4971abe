"""Time-series forecasting: any CSV in, calibrated forecasts out."""

__version__ = "0.1.0"
