"""The service's records as text for people, one module for each noun."""
