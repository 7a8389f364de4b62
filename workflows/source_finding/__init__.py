"""Finding sources in images while they arrive: the example that `parsl-streaming demo` runs."""
