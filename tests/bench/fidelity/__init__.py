"""Published packages upgraded live, and judged by their own test suites: `nox -s fidelity`."""
