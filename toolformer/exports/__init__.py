"""C* and its calls in the forms that other programs train on and publish."""
