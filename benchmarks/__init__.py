"""Programs that measure: ``python -m benchmarks.NAME``. They report what this machine does and assert nothing."""
