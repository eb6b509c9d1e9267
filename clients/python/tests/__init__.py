"""The tests of the SDK and its command line."""
