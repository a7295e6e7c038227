"""The figures that assets show."""
