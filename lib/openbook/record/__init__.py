"""What we keep and tell: runs, runner, monitoring, report."""
