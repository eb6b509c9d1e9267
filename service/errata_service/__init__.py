"""The HTTP service: the FastAPI app, and the serving engine that generates with the edited model."""
