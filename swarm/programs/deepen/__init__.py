"""The four steps of the published token fusion program on their own: its configs, flags, data, results and metrics."""
