"""Measurements, which are not part of the tests."""
