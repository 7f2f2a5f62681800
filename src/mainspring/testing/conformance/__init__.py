"""What every adapter of a port must do, as checks that any adapter can be run against."""
